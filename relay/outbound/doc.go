// Package outbound makes delivery attempts.
//
// An attempt is one message for one destination. In order: go through the legs
// of the route; at each, take a connection that is open, or go through the hosts
// and their addresses until one takes a session; send the message there;
// translate what came of it into one result for each recipient. A host that
// refuses the session, or loses it, leads to the next one; what a host says about
// the message or a recipient is final for this attempt, unless the route has
// that reply lead on to the next leg.
//
// A message that needs what a host does not offer is made fit for it where that
// is possible (fit.go): 8-bit and binary content is encoded, domains are written
// as A-labels. It is never sent raw.
//
// What hosts say may mean more than its code: when the next attempt is to be
// made, or that the whole destination is to be left alone (package reply).
//
// Legs of equal rank are drawn by lot, which is the message's for all of its
// attempts (route.Order). Each leg has its own terms: what is known of it, its
// connections and its credentials belong to no other. The addresses of a host are
// raced (dial.go), and a leg that keeps failing is left out while another one
// works (breaker.go), as is one whose site rests.
//
// Every error is classified in one place (classify.go), and what is not known
// to be permanent is temporary. A message fails for want of a way only when
// every way is barred for good; that a next hop which the configuration names
// does not exist is no such bar, as that mistake is ours. A connection that may
// carry more mail is kept for a while in a pool.
package outbound
