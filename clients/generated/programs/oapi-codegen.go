package main

import (
	"context"
	"fmt"
	"os"

	"program/api"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	client, ctx := must(api.NewClientWithResponses(os.Args[1])), context.Background()
	ask := func(holder string, wait bool) *api.AcquireResponse {
		body := api.AcquireBody{Holder: &holder, Wait: &wait}
		return must(client.AcquireWithResponse(ctx, "crm", nil, body))
	}
	policy := api.PolicyRequest{Capacity: 1, Queue: &api.QueueRequest{MaxWaiting: 5}}
	must(client.PutPoolWithResponse(ctx, "crm", nil, policy))
	granted := ask("ann", false)
	denied := ask("bob", false)
	queued := ask("eve", true)
	token := *granted.JSON201.Token
	renewed := must(client.RenewWithResponse(ctx, api.RenewBody{Token: token}))
	limit := 1
	page := must(client.ListLeasesWithResponse(ctx, "crm", &api.ListLeasesParams{Limit: &limit}))
	must(client.ReleaseWithResponse(ctx, api.TokenBody{Token: token}))
	ticket := "no ticket"
	if queued.JSON202.Ticket != nil {
		ticket = "ticket"
	}
	fmt.Println(denied.ApplicationproblemJSON409.Code, ticket, *renewed.JSON200.Lease.Holder, len(page.JSON200.Items))
}
