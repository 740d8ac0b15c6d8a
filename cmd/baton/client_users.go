package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

func usersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "users", Short: "Show who may sign in; make, change and delete users", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.PersonList
		if err := c.call(cmd.Context(), "GET", "/users", nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		return printUsers(c, list.Users)
	}
	add := personCommand("add USER", "Make a user and a one-use link that sets the password", func(c *client, cmd *cobra.Command, name string) error {
		role, _ := cmd.Flags().GetString("role")
		return c.invite(cmd, "POST", "/users", api.NewPerson{Name: name, Role: role})
	})
	add.Flags().String("role", "viewer", "viewer, auditor, operator, approver or admin")
	link := personCommand("link USER", "Make a new one-use link that sets the password", func(c *client, cmd *cobra.Command, name string) error {
		return c.invite(cmd, "POST", "/users/"+segment(name)+"/password", nil)
	})
	role := personCommand("role USER", "Change what a user may do; the user's sessions end", func(c *client, cmd *cobra.Command, name string) error {
		role, _ := cmd.Flags().GetString("role")
		return c.changeUser(cmd, name, api.PersonChange{Role: &role})
	})
	role.Flags().String("role", "", "viewer, auditor, operator, approver or admin")
	_ = role.MarkFlagRequired("role")
	yes, no := true, false
	disable := personCommand("disable USER", "Let a user in no more", func(c *client, cmd *cobra.Command, name string) error {
		return c.changeUser(cmd, name, api.PersonChange{Disabled: &yes})
	})
	enable := personCommand("enable USER", "Let a disabled user in again", func(c *client, cmd *cobra.Command, name string) error {
		return c.changeUser(cmd, name, api.PersonChange{Disabled: &no})
	})
	remove := personCommand("delete USER", "Delete a user; the audit keeps what the user did", func(c *client, cmd *cobra.Command, name string) error {
		var left api.PersonList
		if err := c.call(cmd.Context(), "DELETE", "/users/"+segment(name), nil, &left); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(left)
		}
		fmt.Fprintf(c.out, "Deleted %s.\n", name)
		return nil
	})
	cmd.AddCommand(add, link, role, disable, enable, remove)
	return cmd
}

// personCommand is a command about one user.
func personCommand(use, short string, run func(c *client, cmd *cobra.Command, name string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		return run(c, cmd, args[0])
	}
	return cmd
}

func (c *client) invite(cmd *cobra.Command, method, path string, in any) error {
	var i api.Invitation
	if err := c.call(cmd.Context(), method, path, in, &i); err != nil {
		return failure(err)
	}
	if strings.HasPrefix(i.SetupLink, "/") {
		i.SetupLink = c.server + i.SetupLink
	}
	if c.json {
		return c.writeJSON(i)
	}
	fmt.Fprintf(c.out, "%s is %s. The password is set with this link, once, until %s:\n  %s\n", i.User.Name, i.User.Role, i.ExpiresAt.Local().Format("2006-01-02 15:04"), i.SetupLink)
	return nil
}

func (c *client) changeUser(cmd *cobra.Command, name string, change api.PersonChange) error {
	var p api.Person
	if err := c.call(cmd.Context(), "PUT", "/users/"+segment(name), change, &p); err != nil {
		return failure(err)
	}
	if c.json {
		return c.writeJSON(p)
	}
	return printUsers(c, []api.Person{p})
}

func printUsers(c *client, users []api.Person) error {
	rows := [][]string{{"USER", "ROLE", "STATE", "SEEN"}}
	for _, u := range users {
		state := "active"
		switch {
		case u.Disabled:
			state = "disabled"
		case u.Pending:
			state = "invited"
		}
		rows = append(rows, []string{u.Name, u.Role, state, agoText(u.LastSeen)})
	}
	return table(c.out, rows...)
}

func tokensCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "tokens", Short: "Show, make and end API tokens", Args: cobra.NoArgs}
	connect := clientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var list api.TokenList
		if err := c.call(cmd.Context(), "GET", "/tokens", nil, &list); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(list)
		}
		rows := [][]string{{"TOKEN", "NAME", "OWNER", "ROLE", "ENDS", "USED"}}
		for _, t := range list.Tokens {
			ends := t.ExpiresAt.Local().Format("2006-01-02")
			if t.Expired {
				ends += " (ended)"
			}
			rows = append(rows, []string{t.ID, t.Name, orDash(t.Owner), t.Role, ends, agoText(t.LastSeen)})
		}
		return table(c.out, rows...)
	}
	add := &cobra.Command{Use: "add NAME", Short: "Make an API token; it is shown once", Args: cobra.ExactArgs(1)}
	connectAdd := clientFlags(add)
	role := add.Flags().String("role", "viewer", "viewer, auditor, operator, approver or admin; at most your own")
	days := add.Flags().Int("days", 90, "it ends after so many days, at most 366")
	add.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connectAdd()
		if err != nil {
			return err
		}
		var made api.TokenCreated
		if err := c.call(cmd.Context(), "POST", "/tokens", api.NewToken{Name: args[0], Role: *role, Days: *days}, &made); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(made)
		}
		fmt.Fprintf(c.out, "%s has the role %s until %s. It is shown only now:\n  BATON_TOKEN=%s\n", made.Token.Name, made.Token.Role, made.Token.ExpiresAt.Local().Format("2006-01-02"), made.Secret)
		return nil
	}
	end := &cobra.Command{Use: "end TOKEN", Short: "End an API token", Args: cobra.ExactArgs(1)}
	connectEnd := clientFlags(end)
	end.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := connectEnd()
		if err != nil {
			return err
		}
		var left api.TokenList
		if err := c.call(cmd.Context(), "DELETE", "/tokens/"+segment(args[0]), nil, &left); err != nil {
			return failure(err)
		}
		if c.json {
			return c.writeJSON(left)
		}
		fmt.Fprintf(c.out, "Ended %s.\n", args[0])
		return nil
	}
	cmd.AddCommand(add, end)
	return cmd
}
