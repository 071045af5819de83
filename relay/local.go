package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strconv"

	gosmtp "github.com/emersion/go-smtp"

	"waypost/configs"
	"waypost/relay/drop"
	"waypost/relay/inbound"
	"waypost/relay/smtp"
)

// DropDir is where the sendmail command leaves mail while no waypost runs.
func DropDir(c *configs.Config) string {
	if c.DropDir != "" {
		return c.DropDir
	}
	return filepath.Join(c.DataDir, "drop")
}

// openDrop makes what takes that mail.
func (r *Relay) openDrop() error {
	r.drop = &drop.Collector{Dir: DropDir(r.config), Taker: localMail{r}, Log: r.log}
	return r.drop.Open(r.config.DropDir != "")
}

// localMail hands mail of the drop directory to the backend.
type localMail struct{ relay *Relay }

var _ drop.Taker = localMail{}

// Take takes one message. A fault of ours keeps this one waiting, and no other.
func (l localMail) Take(_ context.Context, owner uint32, e drop.Envelope, content io.ReadSeeker) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			l.relay.metrics.SessionPanics.Inc()
			l.relay.log.Error("panic in a session", "client", localUser(owner), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
			err = fmt.Errorf("a fault of the program: %v", fault)
		}
	}()
	m := inbound.Local{
		User: localUser(owner), From: e.From, To: e.To, Return: e.Return, EnvelopeID: e.ID, UTF8: e.UTF8,
	}
	if e.Notify != "" {
		notify, err := smtp.ParseNotify(e.Notify)
		if err != nil {
			return fmt.Errorf("%w: notify: %w", drop.ErrBad, err)
		}
		m.Notify = notify
	}
	return l.relay.backend.Load().TakeLocal(m, content)
}

// Permanent reports whether the backend will always say so.
func (localMail) Permanent(err error) bool {
	reply, ok := errors.AsType[*gosmtp.SMTPError](err)
	return ok && reply.Code/100 == 5
}

// localUser names a user of this host.
func localUser(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	if u, err := user.LookupId(number); err == nil {
		return "local user " + smtp.Printable(u.Username)
	}
	return "local user " + number
}
