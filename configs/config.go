package configs

import "strconv"

// Config is a whole configuration. The zero value is not valid: begin with
// [Default] or [Load].
type Config struct {
	// Hostname is our name in the greeting, in EHLO and in Received fields. The
	// default is the host's own name, fully qualified where /etc/hosts says how.
	Hostname string `toml:"hostname"`
	// DataDir is the directory of the queue and of the control socket. The
	// default is the first of $STATE_DIRECTORY, else $XDG_STATE_HOME/waypost,
	// else ~/.local/state/waypost.
	DataDir string `toml:"data_dir"`
	// DropDir is where the sendmail command leaves mail while no waypost runs.
	// Default "", which is drop in DataDir, where only waypost's own user may
	// leave some.
	DropDir string `toml:"drop_dir"`
	// ShutdownTimeout is how long sessions and deliveries may take to finish
	// once we are told to stop. Default 30s.
	ShutdownTimeout Duration `toml:"shutdown_timeout"`

	// Listeners are the addresses on which mail is taken. Without any there is
	// one, with each key at its default.
	Listeners []Listener `toml:"listener"`
	// TLS is the certificate that listeners present.
	TLS TLS `toml:"tls"`
	// Certificates are presented to clients that ask for a host in them.
	// Default none.
	Certificates []TLS `toml:"certificate"`
	// Relay says for whom mail is relayed.
	Relay Relay `toml:"relay"`
	// Deny lists what is refused.
	Deny Lists `toml:"deny"`
	// Allow lists what is not looked for on the same list of Deny.
	Allow Lists `toml:"allow"`
	// Logins say what logins may do. Default none: each may use any sender.
	Logins []Login `toml:"login"`
	// DKIM are the keys with which mail is signed. Default none: nothing is.
	DKIM []DKIM `toml:"dkim"`
	// Limits bound what clients may use.
	Limits Limits `toml:"limits"`
	// Queue says how long and how often delivery is tried.
	Queue Queue `toml:"queue"`
	// Classes are asked in order and the first that matches is a message's class.
	// Default none, and all mail is of the class "default".
	Classes []Class `toml:"class"`
	// History says what is kept of messages that have left the queue.
	History History `toml:"history"`
	// Routes are asked in order and the first that matches wins; without one,
	// mail goes where the recipient's MX records say. Default none.
	Routes []Route `toml:"route"`
	// Replies are asked in order, and the first that matches a refusal says what it
	// means; behind them there are built-in rules. Default none.
	Replies []Reply `toml:"reply"`
	// Paces are asked in order, and the first that matches says how fast mail may
	// leave for a site. Default none.
	Paces []Pace `toml:"pace"`
	// Resolver names the DNS servers.
	Resolver Resolver `toml:"resolver"`
	// Delivery bounds what delivery may use and reach.
	Delivery Delivery `toml:"delivery"`
	// Metrics is the HTTP endpoint for metrics and health.
	Metrics Metrics `toml:"metrics"`
	// Log says what is logged, and how.
	Log Log `toml:"log"`

	// Warnings tell what is valid but suspicious. [Load] and [Config.Validate]
	// set them.
	Warnings []Problem `toml:"-"`

	places places // of what was set
}

// Problem makes a problem of a key, at its place.
func (c *Config) Problem(path, text string) Problem {
	return c.places.find(path).problem(path, path+": "+text, "")
}

// Place is where a key was set, as "waypost.toml:12" or the name of a variable,
// by its path with indexes: "relay.networks[1]". It is "" for what has its
// default. A path that was not set itself has the place of what it is part of.
func (c *Config) Place(path string) string {
	at := c.places.find(path)
	if at.row == 0 {
		return at.file
	}
	return at.file + ":" + strconv.Itoa(at.row)
}

// Metrics is the HTTP endpoint for metrics and health.
type Metrics struct {
	// Address is where it listens, as in Listener.Address; "" turns it off.
	// Default 127.0.0.1:9025.
	Address string `toml:"address"`
	// TopDestinations is how many destinations have series of their own: those
	// for which the most recipients wait. All others are one series. At most 100;
	// 0 names none. Default 20.
	TopDestinations int `toml:"top_destinations"`
}

// Values of Log.Format.
const (
	// FormatAuto is text on a terminal and JSON elsewhere.
	FormatAuto = "auto"
	// FormatText is key=value text.
	FormatText = "text"
	// FormatJSON is one JSON object a line.
	FormatJSON = "json"
)

// Values of Log.Level, from most to least.
const (
	LevelDebug = "debug" // every step
	LevelInfo  = "info"  // every message's journey
	LevelWarn  = "warn"  // what may need a look
	LevelError = "error" // what needs one
)

// Log says what is logged, and how.
type Log struct {
	// Format is [FormatAuto], the default, [FormatText] or [FormatJSON].
	Format string `toml:"format"`
	// Level is the least that is logged: [LevelDebug], [LevelInfo], the default,
	// [LevelWarn] or [LevelError].
	Level string `toml:"level"`
	// Pseudonyms replaces the local parts of addresses in what is logged.
	// Default false.
	Pseudonyms bool `toml:"pseudonyms"`
}
