package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"

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
	// The connection is ours to close: the client leaves it open when a login
	// is refused.
	var conn net.Conn
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn = c
		if e.TLS == TLSImplicit {
			return tls.Client(c, config), nil
		}
		return c, nil
	}
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	opts := []mail.Option{mail.WithPort(e.Port), mail.WithTimeout(attemptTime), mail.WithTLSConfig(config), mail.WithDialContextFunc(dial)}
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
	var answer *textproto.Error
	switch {
	case errors.As(err, &send) && !send.IsTemp() && send.ErrorCode() >= 500, errors.As(err, &answer) && answer.Code >= 500:
		return permanentError{err} // the server has spoken: a wrong login, an unknown recipient
	}
	return err
}
