package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"baton/eventstore/users"
	"baton/platform/identity"
)

// certsCommand makes what secure event-store nodes and their users need when a
// single node's own first start does not do: an authority that the nodes of a
// cluster share, and certificates issued on one machine for others.
func certsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "certs", Short: "Make certificates for event-store nodes and their users"}
	cmd.AddCommand(certsAuthority(), certsNode(), certsUser())
	return cmd
}

func certsAuthority() *cobra.Command {
	return &cobra.Command{
		Use:   "authority DIR",
		Short: "Make a certificate authority, or show the one that is there",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ca, err := identity.OpenCA(args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "authority %s, SHA-256 %s\n", args[0], ca.Fingerprint())
			fmt.Fprintf(cmd.OutOrStdout(), "Clients trust %s. Copy the directory to every node (keep ca.key private) and start them with --certificate-authority-path;\n"+
				"or keep it here, and issue files with 'baton certs node'.\n", filepath.Join(args[0], "ca.crt"))
			return nil
		},
	}
}

func certsNode() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "node DIR HOST...",
		Short: "Issue a node's certificate, valid for the hosts it is reached at",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, host := range args[1:] {
				if _, _, err := net.SplitHostPort(host); err == nil {
					return fmt.Errorf("%q has a port: give the host alone", host)
				}
			}
			return issue(cmd, args[0], out, "node", func(ca *identity.CA) ([]byte, []byte, error) { return ca.IssueStoreNode("", args[1:]) })
		},
	}
	cmd.Flags().StringVar(&out, "out", ".", "directory for node.crt and node.key")
	return cmd
}

func certsUser() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "user DIR LOGIN",
		Short: "Issue a certificate with which a client signs in as a user",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := users.CheckLogin(args[1]); err != nil {
				return err
			}
			return issue(cmd, args[0], out, "user-"+args[1], func(ca *identity.CA) ([]byte, []byte, error) { return ca.IssueStoreUser(args[1]) })
		},
	}
	cmd.Flags().StringVar(&out, "out", ".", "directory for user-LOGIN.crt and user-LOGIN.key")
	return cmd
}

// issue has an authority that exists issue a certificate and writes it with its key.
func issue(cmd *cobra.Command, dir, out, name string, make func(*identity.CA) (certPEM, keyPEM []byte, err error)) error {
	if _, err := os.Stat(filepath.Join(dir, "ca.crt")); err != nil {
		return fmt.Errorf("%s holds no authority: make it with 'baton certs authority %s'", dir, dir)
	}
	ca, err := identity.OpenCA(dir)
	if err != nil {
		return err
	}
	certPEM, keyPEM, err := make(ca)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	crt, key := filepath.Join(out, name+".crt"), filepath.Join(out, name+".key")
	if err := identity.WriteFile(key, keyPEM, 0o600); err != nil {
		return err
	}
	if err := identity.WriteFile(crt, certPEM, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s and %s\n", crt, key)
	return nil
}
