package main

import (
	"context"
	"fmt"
	"os"

	api "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	configuration := api.NewConfiguration()
	configuration.Servers = api.ServerConfigurations{{URL: os.Args[1]}}
	client, ctx := api.NewAPIClient(configuration), context.Background()
	ask := func(holder string, wait bool) (*api.Acquired, error) {
		body := api.NewAcquireBody()
		body.SetHolder(holder)
		body.SetWait(wait)
		acquired, _, err := client.LeasesAPI.Acquire(ctx, "crm").AcquireBody(*body).Execute()
		return acquired, err
	}
	policy := api.NewPolicyRequest(1)
	policy.SetQueue(*api.NewQueueRequest(5))
	_, _, err := client.PoolsAPI.PutPool(ctx, "crm").PolicyRequest(*policy).Execute()
	must(0, err)
	granted := must(ask("ann", false))
	_, denied := ask("bob", false)
	problem := denied.(*api.GenericOpenAPIError).Model().(api.Problem)
	queued := must(ask("eve", true))
	renewed, _, err := client.LeasesAPI.Renew(ctx).RenewBody(*api.NewRenewBody(granted.GetToken())).Execute()
	must(0, err)
	page, _, err := client.LeasesAPI.ListLeases(ctx, "crm").Limit(1).Execute()
	must(0, err)
	_, err = client.LeasesAPI.Release(ctx).TokenBody(*api.NewTokenBody(granted.GetToken())).Execute()
	must(0, err)
	ticket := "no ticket"
	if queued.GetTicket() != "" {
		ticket = "ticket"
	}
	fmt.Println(problem.Code, ticket, renewed.Lease.GetHolder(), len(page.Items))
}
