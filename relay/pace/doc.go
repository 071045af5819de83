// Package pace says how fast mail may leave.
//
// Attempts run at a site: the mail hosts that some destinations share, or a
// smarthost. Each site has a window, which is how many attempts may run there at
// once. It grows with what the hosts take and shrinks when they refuse us, within
// bounds that the configuration sets, and there may be limits on what is sent
// within a time. An attempt holds a pass. To begin with that is one of the site
// where its destination was last; the pass moves once it is known where the
// attempt leads. Who gets no pass waits in the line of the site, and is called
// when it is its turn: a place that becomes free is kept for the first in line. Those
// with mail of a higher class or priority stand before the others, which get every
// tenth turn.
//
// Waiting costs nothing but a place in a list: no attempt is made, and nothing is
// written. What is known of a site is forgotten when it was not used for an hour,
// and when the process ends.
package pace
