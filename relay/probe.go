package relay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"waypost/configs"
	"waypost/relay/control"
	"waypost/relay/smtp"
	"waypost/resolver"
)

// probeTimeout bounds what the DNS is waited for.
const probeTimeout = 5 * time.Second

// Probe tries what Check does not: whether the addresses to listen on are free,
// the data directory can be written to and has room, and our name resolves to an
// address and back. A waypost that runs with the data directory has its
// addresses already, and then they are not tried. Nothing is left behind.
func Probe(ctx context.Context, c *configs.Config) (problems, warnings configs.Problems) {
	p := &probe{config: c}
	p.directory()
	client, err := control.Dial(filepath.Join(c.DataDir, ControlSocket))
	if err == nil {
		_ = client.Close() // somebody answers, and that is all that was asked
	} else if !errors.Is(err, fs.ErrPermission) {
		p.addresses()
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	p.hostname(ctx)
	return p.problems, p.warnings
}

// probe is one under way.
type probe struct {
	config             *configs.Config
	problems, warnings configs.Problems
}

func (p *probe) fail(key, format string, args ...any) {
	p.problems = append(p.problems, p.config.Problem(key, fmt.Sprintf(format, args...)))
}

func (p *probe) warn(key, format string, args ...any) {
	p.warnings = append(p.warnings, p.config.Problem(key, fmt.Sprintf(format, args...)))
}

// directory looks whether the data directory, or the one in which it will be
// made, can be written to and has room.
func (p *probe) directory() {
	dir := p.config.DataDir
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return // the service's user may look, and this one may not
	case err != nil:
		p.fail("data_dir", "%v", err)
		return
	case !info.IsDir():
		p.fail("data_dir", "%s is no directory", dir)
		return
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		p.fail("data_dir", "%v", &fs.PathError{Op: "statfs", Path: dir, Err: err})
		return
	}
	if s.Flags&unix.ST_RDONLY != 0 {
		p.fail("data_dir", "%s is on a file system that is mounted read-only", dir)
	} else if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner == os.Geteuid() && unix.Access(dir, unix.W_OK|unix.X_OK) != nil {
		p.fail("data_dir", "%s cannot be written to by its owner (mode %04o)", dir, info.Mode().Perm())
	}
	if free, floor := int64(s.Bavail)*s.Bsize, int64(p.config.Queue.MinFree); free < floor && s.Blocks > 0 {
		p.warn("data_dir", "%s has %v left, and below queue.min_free, %v, no mail is taken", dir, configs.Size(free), configs.Size(floor))
	}
}

// addresses tries to listen where it will be listened.
func (p *probe) addresses() {
	for i, l := range p.config.Listeners {
		p.address(fmt.Sprintf("listener[%d].address", i), l.Address)
	}
	if p.config.Metrics.Address != "" {
		p.address("metrics.address", p.config.Metrics.Address)
	}
}

func (p *probe) address(key, address string) {
	ln, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		_ = ln.Close() // nobody has come in this moment
	case errors.Is(err, syscall.EADDRINUSE):
		p.fail(key, "%s is in use by another program", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		p.fail(key, "%s is no address of this host", address)
	case errors.Is(err, fs.ErrPermission):
		p.warn(key, "this user may not listen on %s, and so it was not tried", address)
	default:
		p.fail(key, "%v", err)
	}
}

// reverse asks the configured servers, or those of the host, for the names of
// addresses.
func reverse(servers []string) *net.Resolver {
	if len(servers) == 0 {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server, err := configs.ParseServer(servers[0])
		if err != nil {
			return nil, err
		}
		var d net.Dialer
		return d.DialContext(ctx, network, server.String())
	}}
}

// hostname looks whether our name leads to an address, and that back to the name:
// many hosts take no mail from one whose does not.
func (p *probe) hostname(ctx context.Context) {
	name, servers := p.config.Hostname, p.config.Resolver.Servers
	found, err := resolver.New(resolver.Options{Servers: servers, Hostname: name}).Addresses(ctx, name)
	if unknown, ok := errors.AsType[*resolver.Error](err); ok && unknown.Permanent() {
		p.warn("hostname", "%s resolves to no address, and many hosts refuse mail from such a name", name)
		return
	}
	if err != nil {
		p.warn("hostname", "%s could not be looked up: %v", name, err)
		return
	}
	dns, own := reverse(servers), smtp.Path{Domain: name}.DomainKey()
	var others []string
	for _, addr := range found {
		back, err := dns.LookupAddr(ctx, addr.String())
		for i := range back {
			back[i] = strings.TrimSuffix(back[i], ".")
		}
		switch missing, ok := errors.AsType[*net.DNSError](err); {
		case slices.ContainsFunc(back, func(name string) bool { return strings.EqualFold(name, own) }):
		case len(back) > 0:
			others = append(others, fmt.Sprintf("%v resolves back to %s", addr, strings.Join(back, ", ")))
		case ok && missing.IsNotFound:
			others = append(others, fmt.Sprintf("%v does not resolve back to any name", addr))
		default:
			others = append(others, fmt.Sprintf("%v could not be looked up: %v", addr, err))
		}
	}
	if len(others) > 0 {
		p.warn("hostname", "of %s, %s: many hosts refuse mail from an address without its own name", name, strings.Join(others, ", and "))
	}
}
