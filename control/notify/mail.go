package notify

import (
	"context"
	"errors"
	"fmt"

	"github.com/wneessen/go-mail"
)

// mail sends a message by SMTP.
func (n *Notifier) mail(ctx context.Context, e *Email, m Message) error {
	msg := mail.NewMsg()
	if err := msg.From(e.From); err != nil {
		return permanentError{fmt.Errorf("the sender is not valid: %w", err)}
	}
	if err := msg.To(e.To...); err != nil {
		return permanentError{fmt.Errorf("a recipient is not valid: %w", err)}
	}
	msg.Subject(subject(&m))
	msg.SetDate()
	msg.SetMessageIDWithValue(m.ID + "@baton")
	msg.SetBodyString(mail.TypeTextPlain, text(&m))
	config := n.tls()
	config.ServerName = e.Host
	opts := []mail.Option{mail.WithPort(e.Port), mail.WithTimeout(attemptTime), mail.WithTLSConfig(config)}
	switch e.TLS {
	case TLSImplicit:
		opts = append(opts, mail.WithSSL())
	case TLSNone:
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS))
	default:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if e.User != "" {
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthPlain), mail.WithUsername(e.User), mail.WithPassword(e.Password))
	}
	c, err := mail.NewClient(e.Host, opts...)
	if err != nil {
		return permanentError{fmt.Errorf("the mail settings are not valid: %w", err)}
	}
	err = c.DialAndSendWithContext(ctx, msg)
	var send *mail.SendError
	if errors.As(err, &send) && !send.IsTemp() && send.Reason != mail.ErrNoUnencoded {
		return permanentError{err}
	}
	return err
}
