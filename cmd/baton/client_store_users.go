package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func storeUsersCommand() *cobra.Command {
	cmd := storeCommand("store-users CLUSTER", "The accounts of an event store (needs the role admin): show, make, change, delete", cobra.ExactArgs(1), func(c *client, cmd *cobra.Command, args []string) error {
		var list api.StoreUserList
		if err := c.call(cmd.Context(), "GET", ofStore(args[0], "store-users"), nil, &list); err != nil {
			return failure(err)
		}
		if printed, err := c.answer(list); printed {
			return err
		}
		if !list.Secure {
			fmt.Fprintln(c.out, "This event store runs without security: it keeps no accounts, and everybody may do everything.")
			return nil
		}
		return c.printStoreUsers(list.Own, list.Users)
	})
	var groups *[]string
	var fullName, reason *string
	add := storeCommand("add CLUSTER LOGIN", "Make an account; its password is taken from "+passwordVariable+", or made and shown once", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		return c.storeSecret(cmd, ofStore(args[0], "store-users"), api.StoreUserRequest{Login: args[1], FullName: *fullName, Groups: *groups, Password: os.Getenv(passwordVariable), Reason: *reason})
	})
	groups = add.Flags().StringSlice("group", nil, "groups, such as $admins, $ops, or your own")
	fullName = add.Flags().String("full-name", "", "of a person")
	reason = add.Flags().String("reason", "", "why, for the audit")
	reset := storeCommand("reset CLUSTER LOGIN", "Give an account another password, taken from "+passwordVariable+", or made and shown once", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		return c.storeSecret(cmd, ofStore(args[0], "store-users/"+segment(args[1])+"/password"), api.StoreUserPassword{Password: os.Getenv(passwordVariable)})
	})
	set := storeCommand("groups CLUSTER LOGIN [GROUP...]", "Set the groups an account is in, all of them", cobra.MinimumNArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		list := append([]string{}, args[2:]...)
		return c.changeStoreUser(cmd, args, api.StoreUserChange{Groups: &list})
	})
	yes, no := true, false
	disable := storeCommand("disable CLUSTER LOGIN", "Let an account in no more", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		return c.changeStoreUser(cmd, args, api.StoreUserChange{Disabled: &yes})
	})
	enable := storeCommand("enable CLUSTER LOGIN", "Let a disabled account in again", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		return c.changeStoreUser(cmd, args, api.StoreUserChange{Disabled: &no})
	})
	var given func(*client, string) (string, string, error)
	remove := storeCommand("delete CLUSTER LOGIN", "Delete an account", cobra.ExactArgs(2), func(c *client, cmd *cobra.Command, args []string) error {
		typed, reason, err := given(c, args[1])
		if err != nil {
			return err
		}
		return c.done(cmd, ofStore(args[0], "store-users/"+segment(args[1])+"/delete"), api.StoreUserDeletion{TypedName: typed, Reason: reason})
	})
	given = confirmed(remove, "the account's name")
	cmd.AddCommand(add, reset, set, disable, enable, remove)
	return cmd
}

func (c *client) printStoreUsers(own string, users []api.StoreUser) error {
	rows := [][]string{{"LOGIN", "FULL NAME", "GROUPS", "STATE", "CREATED", "CHANGED"}}
	for _, u := range users {
		state, created := "active", "unknown"
		if u.Disabled {
			state = "disabled"
		}
		if u.Login == own && own != "" {
			state += ", Baton's own"
		}
		if u.Created != nil {
			created = u.Created.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []string{u.Login, orDash(u.FullName), orDash(strings.Join(u.Groups, ", ")), state, created, u.Updated.Local().Format("2006-01-02 15:04")})
	}
	return table(c.out, rows...)
}

func (c *client) changeStoreUser(cmd *cobra.Command, args []string, change api.StoreUserChange) error {
	var u api.StoreUser
	if err := c.call(cmd.Context(), "PUT", ofStore(args[0], "store-users/"+segment(args[1])), change, &u); err != nil {
		return c.refusal(err)
	}
	if printed, err := c.answer(u); printed {
		return err
	}
	return c.printStoreUsers("", []api.StoreUser{u})
}

// storeSecret sends a request whose answer may hold a password.
func (c *client) storeSecret(cmd *cobra.Command, path string, in any) error {
	var s api.StoreUserSecret
	if err := c.call(cmd.Context(), "POST", path, in, &s); err != nil {
		return c.refusal(err)
	}
	if printed, err := c.answer(s); printed {
		return err
	}
	fmt.Fprintln(c.out, s.Sentence+".")
	if s.Password != "" {
		fmt.Fprintf(c.out, "Account %s, password %s   (shown only now)\n", s.Login, s.Password)
	}
	return nil
}
