package configs

// Queue says how long and how often delivery is tried.
type Queue struct {
	// Retry holds the waits after the first attempt, the second, and so on; the
	// last repeats. Default 30m, 1h, 2h, 3h.
	Retry []Duration `toml:"retry"`
	// Lifetime is how long delivery is tried before the sender is told that it
	// failed. Default 5d.
	Lifetime Duration `toml:"lifetime"`
	// WarnAfter is when the sender is told of a delay; 0 is never. Default 4h.
	WarnAfter Duration `toml:"warn_after"`
	// Jitter is the fraction by which a wait may be longer than the list
	// says, so that retries do not march in step. Default 0.1.
	Jitter float64 `toml:"jitter"`
	// MinFree is the free space on the queue's file system below which no new
	// mail is taken. Default 256MB.
	MinFree Size `toml:"min_free"`
	// Ephemeral lets the queue be where it does not outlive the host or the
	// container: on tmpfs, ramfs or overlayfs. Default false.
	Ephemeral bool `toml:"ephemeral"`
}

// History bounds what is kept of messages that have left the queue.
type History struct {
	// Size is how much of the disk their stories may take; 0 keeps none.
	// Default 256MB.
	Size Size `toml:"size"`
	// Age is how long they are kept; 0 is as long as there is room. Default 7d.
	Age Duration `toml:"age"`
}

// ClassDefault is the class of messages that no other matches. A [[class]] of
// that name says what else holds for them.
const ClassDefault = "default"

// Class is a kind of message that is delivered in its own way. What is set of
// From to MaxPriority must all match.
type Class struct {
	// Name is the class's name: small letters, digits and hyphens. It must be set.
	Name string `toml:"name"`
	// From are the senders: addresses or domains as in Route.To, or "<>" for reports. Default any.
	From []string `toml:"from"`
	// To are the recipients, as in Route.To; each recipient must match one. Default any.
	To []string `toml:"to"`
	// Logins are the identities that clients proved. Default any.
	Logins []string `toml:"logins"`
	// Networks are the clients, as in Relay.Networks. Default any.
	Networks []string `toml:"networks"`
	// Headers are header fields of which the message must have one: "List-Id",
	// or "Precedence: bulk" with its value. Default any.
	Headers []string `toml:"headers"`
	// MinPriority and MaxPriority bound the message's priority (RFC 6710).
	// Default -9 and 9.
	MinPriority int `toml:"min_priority"`
	MaxPriority int `toml:"max_priority"`
	// Rank says who goes first at a next hop; the highest does. Default 0,
	// which is that of the default class, too.
	Rank int `toml:"rank"`
	// Share is the part of the workers that the class has at least when it
	// needs them, from 0 to 1. Default 0: an equal part of what is left.
	Share float64 `toml:"share"`
	// Retry, Lifetime and WarnAfter are as in Queue. Default empty and 0,
	// which means those of Queue.
	Retry     []Duration `toml:"retry"`
	Lifetime  Duration   `toml:"lifetime"`
	WarnAfter Duration   `toml:"warn_after"`
}
