package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"baton/control/api"
)

// Secrets of notifications come from the environment or from files: arguments
// can be read by every user of a machine.
const (
	smtpPasswordVariable  = "BATON_SMTP_PASSWORD"
	webhookSecretVariable = "BATON_WEBHOOK_SECRET"
)

// defaultMailPort is that of submission with STARTTLS.
const defaultMailPort = 587

// notificationFlags are what the command line may say; what is not given stays.
type notificationFlags struct {
	mailServer, mailFrom, mailUser, mailEncryption string
	mailPasswordFile, webhookSecretFile            string
	mailTo, webhooks                               []string
	noMail, noWebhooks                             bool
}

func notificationsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "notifications", Short: "Show or change where alerts are sent: e-mail and webhooks (needs the role admin)",
		Long: "Shows where alerts are sent and how the last messages went; with flags changes it. What is not given stays as it is;\n" +
			"--webhook, once for each, gives all webhooks there shall be. The password of the mail server is read from\n" +
			smtpPasswordVariable + " or --mail-password-file; the secret that signs messages from " + webhookSecretVariable + " for webhooks\n" +
			"that are new, from --webhook-secret-file for all that are named. 'baton alerts test' sends a test message.",
		Example: "  baton notifications --mail-server smtp.example.org:587 --mail-from baton@example.org --mail-to ops@example.org\n" +
			"  baton notifications --webhook https://hooks.example.org/baton",
		Args: cobra.NoArgs,
	}
	connect := clientFlags(cmd)
	var n notificationFlags
	f := cmd.Flags()
	f.StringVar(&n.mailServer, "mail-server", "", "host or host:port of your SMTP server (port 587)")
	f.StringVar(&n.mailFrom, "mail-from", "", "address of the sender")
	f.StringSliceVar(&n.mailTo, "mail-to", nil, "who is told")
	f.StringVar(&n.mailUser, "mail-user", "", "account at the server")
	f.StringVar(&n.mailEncryption, "mail-encryption", "", "starttls, implicit (TLS from the start, port 465) or none (only towards this machine)")
	f.StringVar(&n.mailPasswordFile, "mail-password-file", "", "file with its password (default $"+smtpPasswordVariable+")")
	f.BoolVar(&n.noMail, "no-mail", false, "send no e-mail any more")
	f.StringArrayVar(&n.webhooks, "webhook", nil, "address that is posted to; once for each")
	f.StringVar(&n.webhookSecretFile, "webhook-secret-file", "", "file with the secret of the webhooks named (of new ones: $"+webhookSecretVariable+")")
	f.BoolVar(&n.noWebhooks, "no-webhooks", false, "post to no webhook any more")
	cmd.MarkFlagsMutuallyExclusive("no-mail", "mail-server")
	cmd.MarkFlagsMutuallyExclusive("no-webhooks", "webhook")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := connect()
		if err != nil {
			return err
		}
		var now api.NotificationSettings
		if err := c.call(cmd.Context(), "GET", "/notifications", nil, &now); err != nil {
			return failure(err)
		}
		changes := false
		for _, name := range []string{"mail-server", "mail-from", "mail-to", "mail-user", "mail-encryption", "mail-password-file", "no-mail", "webhook", "webhook-secret-file", "no-webhooks"} {
			changes = changes || f.Changed(name)
		}
		if changes {
			wanted, err := n.over(&now, f.Changed)
			if err != nil {
				return err
			}
			if now, err = c.putNotifications(cmd.Context(), wanted); err != nil {
				return failure(err)
			}
		}
		if c.json {
			return c.writeJSON(now)
		}
		return c.showNotifications(&now)
	}
	return cmd
}

func (c *client) putNotifications(ctx context.Context, wanted *api.NotificationSettings) (now api.NotificationSettings, err error) {
	err = c.call(ctx, "PUT", "/notifications", wanted, &now)
	return now, err
}

// over lays what was given over what is set. Secrets that are not given are left
// out, which keeps those that are stored for the same server and address.
func (n *notificationFlags) over(now *api.NotificationSettings, given func(string) bool) (*api.NotificationSettings, error) {
	wanted := &api.NotificationSettings{Webhooks: []api.WebhookSettings{}, AllowPrivate: now.AllowPrivate}
	var err error
	if !n.noMail {
		if wanted.Email, err = n.mail(now.Email, given); err != nil {
			return nil, err
		}
	}
	known := []string{}
	for _, w := range now.Webhooks {
		known = append(known, w.URL)
	}
	hooks := known
	switch {
	case n.noWebhooks:
		hooks = nil
	case given("webhook"):
		hooks = n.webhooks
	}
	secret, err := secretOf(n.webhookSecretFile, webhookSecretVariable)
	if err != nil {
		return nil, err
	}
	if n.webhookSecretFile != "" && !given("webhook") {
		return nil, errors.New("--webhook-secret-file is the secret of webhooks that are named: give --webhook too")
	}
	for _, url := range hooks {
		w := api.WebhookSettings{URL: url}
		if n.webhookSecretFile != "" || !slices.Contains(known, url) {
			w.Secret = secret
		}
		wanted.Webhooks = append(wanted.Webhooks, w)
	}
	return wanted, nil
}

// mail is nil where no e-mail is sent.
func (n *notificationFlags) mail(now *api.EmailSettings, given func(string) bool) (*api.EmailSettings, error) {
	changes := slices.ContainsFunc([]string{"mail-server", "mail-from", "mail-to", "mail-user", "mail-encryption", "mail-password-file"}, given)
	if now == nil && !changes {
		return nil, nil
	}
	e := api.EmailSettings{Port: defaultMailPort, TLS: "starttls"}
	if now != nil {
		e = *now
		e.HasPassword = false
	} else if n.mailServer == "" {
		return nil, errors.New("no mail server is set yet: give --mail-server, --mail-from and --mail-to")
	}
	if given("mail-server") {
		e.Host, e.Port = n.mailServer, defaultMailPort
		if host, port, err := net.SplitHostPort(n.mailServer); err == nil {
			e.Host = host
			if e.Port, err = strconv.Atoi(port); err != nil {
				return nil, fmt.Errorf("--mail-server %q: the port is no number", n.mailServer)
			}
		}
	}
	if given("mail-from") {
		e.From = n.mailFrom
	}
	if given("mail-to") {
		e.To = n.mailTo
	}
	if given("mail-user") {
		e.User = n.mailUser
	}
	if given("mail-encryption") {
		e.TLS = n.mailEncryption
	}
	var err error
	if changes {
		e.Password, err = secretOf(n.mailPasswordFile, smtpPasswordVariable)
	}
	return &e, err
}

// secretOf reads a secret from a file, else from the environment; nil: there is none.
func secretOf(file, variable string) (*string, error) {
	secret := os.Getenv(variable)
	if file != "" {
		var err error
		if secret, err = readSmall(file); err != nil {
			return nil, fmt.Errorf("read the secret: %w", err)
		}
	}
	if secret == "" {
		return nil, nil
	}
	return &secret, nil
}

func (c *client) showNotifications(n *api.NotificationSettings) error {
	with := map[bool]string{true: "with a secret", false: "without a secret"}
	rows := [][]string{{"WHERE", "TO", "HOW"}}
	if e := n.Email; e != nil {
		how := e.TLS
		if e.User != "" {
			how += ", as " + e.User
		}
		rows = append(rows, []string{"e-mail", strings.Join(e.To, ", "), fmt.Sprintf("from %s by %s (%s)", e.From, net.JoinHostPort(e.Host, strconv.Itoa(e.Port)), how)})
	}
	for _, w := range n.Webhooks {
		rows = append(rows, []string{"webhook", w.URL, with[w.HasSecret]})
	}
	if len(rows) == 1 {
		fmt.Fprintln(c.out, "Nobody is told of alerts. Begin with: baton notifications --webhook https://...")
	} else if err := table(c.out, rows...); err != nil {
		return err
	}
	if n.Problem != "" {
		fmt.Fprintln(c.out, "The stored settings cannot be used: "+n.Problem)
	}
	for _, d := range n.Deliveries {
		outcome := "delivered"
		if !d.OK {
			outcome = "failed"
		}
		fmt.Fprintf(c.out, "%s  %-9s  %s: %s", d.At.Local().Format("2006-01-02 15:04:05"), outcome, d.Channel, d.Subject)
		if d.Error != "" {
			fmt.Fprintf(c.out, " (%s)", d.Error)
		}
		fmt.Fprintln(c.out)
	}
	return nil
}
