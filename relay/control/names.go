package control

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// NameKind is what has names that a shell can complete.
type NameKind string

// The kinds of names.
const (
	// DestinationNames are next hops that something waits for, are on hold, or
	// were in use a while ago.
	DestinationNames NameKind = "destination"
	// ClassNames are the message classes of the configuration.
	ClassNames NameKind = "class"
	// ListenerNames are the addresses on which mail is taken.
	ListenerNames NameKind = "listener"
)

// NamesRequest asks for names that begin with a prefix.
type NamesRequest struct {
	Of     NameKind `json:"of"`
	Prefix string   `json:"prefix,omitempty"`
}

// Names are in order; of very many there are some.
type Names struct {
	Names []string `json:"names"`
}

// maxNames is how many names there are at the most.
const maxNames = 100

// names answers with names that begin with a prefix.
func (h *handler) names(r *http.Request, listeners func() []string) (any, error) {
	var asked NamesRequest
	if err := readJSON(r.Body, &asked); err != nil {
		return nil, err
	}
	var all []string
	switch asked.Of {
	case DestinationNames:
		all = h.queue.Destinations(asked.Prefix, maxNames)
		for _, d := range h.queue.HeldDestinations() {
			all = append(all, d.Name)
		}
	case ClassNames:
		for _, c := range h.queue.Stats().Classes {
			all = append(all, c.Name)
		}
	case ListenerNames:
		if listeners == nil {
			return nil, errNotRunning
		}
		all = listeners()
	default:
		return nil, badRequest("nothing is called a %.40q", asked.Of)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, asked.Prefix) })
	slices.Sort(all)
	all = slices.Compact(all)
	return Names{append([]string{}, all[:min(len(all), maxNames)]...)}, nil
}

// Names returns names that begin with a prefix.
func (c *Client) Names(ctx context.Context, of NameKind, prefix string) ([]string, error) {
	var n Names
	return n.Names, c.call(ctx, http.MethodPost, "/v1/names", NamesRequest{Of: of, Prefix: prefix}, &n)
}
