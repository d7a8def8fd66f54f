package main

import (
	"context"
	"fmt"
	"os"

	"program/api"
)

type noKey struct{}

func (noKey) Bearer(context.Context, api.OperationName) (api.Bearer, error) {
	return api.Bearer{}, nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	client, ctx := must(api.NewClient(os.Args[1], noKey{})), context.Background()
	ask := func(holder string, wait bool) api.AcquireRes {
		body := api.AcquireBody{Holder: api.NewOptNilString(holder), Wait: api.NewOptBool(wait)}
		return must(client.Acquire(ctx, api.NewOptAcquireBody(body), api.AcquireParams{Pool: "crm"}))
	}
	policy := api.PolicyRequest{Capacity: 1, Queue: api.NewOptNilQueueRequest(api.QueueRequest{MaxWaiting: 5})}
	must(client.PutPool(ctx, &policy, api.PutPoolParams{Pool: "crm"}))
	granted := ask("ann", false).(*api.AcquireCreated)
	denied := ask("bob", false).(*api.AcquireConflict)
	queued := ask("eve", true).(*api.AcquireAccepted)
	renewed := must(client.Renew(ctx, &api.RenewBody{Token: granted.Token.Value})).(*api.RenewedBody)
	page := must(client.ListLeases(ctx, api.ListLeasesParams{Pool: "crm", Limit: api.NewOptInt(1)})).(*api.Leases)
	must(client.Release(ctx, &api.TokenBody{Token: granted.Token.Value}))
	ticket := "no ticket"
	if queued.Ticket.Value != "" {
		ticket = "ticket"
	}
	fmt.Println(denied.Code, ticket, renewed.Lease.Holder.Value, len(page.Items))
}
