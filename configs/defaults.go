package configs

import (
	"bufio"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
)

// Units in which the defaults are written.
const (
	second   = Duration(time.Second)
	minute   = Duration(time.Minute)
	hour     = Duration(time.Hour)
	megabyte = 1000 * 1000
)

// Default returns the configuration of a program that was given none: it relays
// for loopback only. Hostname and data directory are those of this host, user
// and environment.
func Default() Config {
	c := defaults(newEnvironment(os.Environ()))
	c.fill()
	return c
}

// defaults leaves empty what depends on other keys; fill does the rest once the
// file and the environment have been read.
func defaults(env environment) Config {
	return Config{
		Hostname:        hostname(os.Hostname, "/etc/hosts"),
		DataDir:         dataDir(env, homeDir),
		ShutdownTimeout: 30 * second,
		Relay:           Relay{Networks: []string{"127.0.0.0/8", "::1/128"}, LoginsMayRelay: true, Sign: SignTrusted, VerifyFailure: VerifyAccept, VerifyTimeout: 10 * second},
		Limits: Limits{
			MessageSize:           50 * megabyte,
			Recipients:            1000,
			Hops:                  100,
			OwnHops:               10,
			Connections:           1000,
			ConnectionsPerAddress: 100,
			IPv4Prefix:            24,
			IPv6Prefix:            48,
			IdleTimeout:           5 * minute,
			MinRate:               500,
		},
		Queue: Queue{
			// RFC 5321 §4.5.4.1: two attempts in the first hour, then every two
			// or three hours, and giving up after four or five days.
			Retry:     []Duration{30 * minute, hour, 2 * hour, 3 * hour},
			Lifetime:  5 * 24 * hour,
			WarnAfter: 4 * hour,
			Jitter:    0.1,
			MinFree:   256 * megabyte,
		},
		History: History{Size: 256 * megabyte, Age: 7 * 24 * hour},
		Delivery: Delivery{
			SMTPPort:                  25,
			MTASTS:                    true,
			AddressFamily:             FamilyBoth,
			Workers:                   500,
			ConnectionsPerDestination: 20,
			ConnectTimeout:            30 * second,
			GreetingTimeout:           5 * minute,
			HelloTimeout:              5 * minute,
			MailTimeout:               5 * minute,
			RcptTimeout:               5 * minute,
			DataTimeout:               2 * minute,
			BlockTimeout:              3 * minute,
			DotTimeout:                10 * minute,
		},
		Metrics: Metrics{Address: "127.0.0.1:9025", TopDestinations: 20},
		Log:     Log{Format: FormatAuto, Level: LevelInfo},
	}
}

// newListener, newLogin, newDKIM, newClass, newPace and newRoute are what a [[listener]],
// [[login]], [[dkim]], [[class]], [[pace]] or [[route]] begins with.
func newListener() Listener {
	return Listener{Address: "127.0.0.1:2525", Mode: ModeRelay, Auth: AuthNone, TLSProfile: ProfileModern}
}

func newLogin() Login { return Login{Senders: []string{"*"}} }

func newDKIM() DKIM {
	return DKIM{Oversign: []string{"From", "Reply-To", "To", "Cc", "Subject"}, SevenBit: true, CheckDNS: true}
}

func newClass() Class { return Class{MinPriority: -9, MaxPriority: 9} }

func newPace() Pace { return Pace{MinConnections: 1, MessagesPerConnection: 1000} }

func newRoute() Route { return Route{TLS: TLSOpportunistic} }

// fill sets what is still empty and depends on other keys.
func (c *Config) fill() {
	if len(c.Listeners) == 0 {
		c.Listeners = []Listener{newListener()}
	}
	for i := range c.Listeners {
		if l := &c.Listeners[i]; l.TLS == "" {
			l.TLS = TLSNone
			if c.TLS.Certificate != "" {
				l.TLS = TLSStartTLS
			}
		}
	}
}

// hostname is the host's own name. Where it has no dot, the hosts file is asked
// for the full one, as `hostname -f` does; DNS is not, because a configuration
// has to load while the network is down.
func hostname(own func() (string, error), hostsFile string) string {
	name, err := own()
	if err != nil || name == "" {
		return "localhost"
	}
	if strings.Contains(name, ".") {
		return strings.TrimSuffix(name, ".")
	}
	f, err := os.Open(hostsFile)
	if err != nil {
		return name
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		for _, candidate := range fields[1:] {
			if strings.HasPrefix(strings.ToLower(candidate), strings.ToLower(name)+".") {
				return candidate
			}
		}
	}
	return name
}

// dataDir is "" where neither the environment nor the user's home says where.
func dataDir(env environment, home func(environment) string) string {
	// systemd gives a list when a unit has more than one state directory.
	if first, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); first != "" {
		return first
	}
	// The XDG base directory specification has relative paths ignored.
	if state := env["XDG_STATE_HOME"]; filepath.IsAbs(state) {
		return filepath.Join(state, "waypost")
	}
	if dir := home(env); dir != "" {
		return filepath.Join(dir, ".local", "state", "waypost")
	}
	return ""
}

func homeDir(env environment) string {
	if home := env["HOME"]; home != "" {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}
