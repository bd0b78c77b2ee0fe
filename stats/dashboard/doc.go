// Package dashboard is a page that shows, live, which NATs a fleet of programs sits behind,
// where, and what gets through.
//
// A [Dashboard] is an http.Handler. Mount it under any path, with http.StripPrefix or, unless
// it ends in /report/, without; whoever opens that path, with a slash at its end, gets the page:
//
//	d, err := dashboard.New(dashboard.Config{Tokens: []string{token}})
//	mux.Handle("/nats/", d)
//
// Under it there are
//
//	ws         a WebSocket for the page: a snapshot, then what changed, each Interval
//	data.json  GET: the snapshot, for other programs
//	report     POST: a [Report], or a list of them
//	report/ws  a WebSocket for many of those, each of which is answered
//
// Detectors are programs that tell what NAT they are behind; [Client] does so for one. What
// they tell is held for as long as they are heard from, and is bounded in all. A place is a
// country or a whole degree, and coarser than that before anything else happens to it; places
// of fewer than [FewDetectors] detectors are not told to anyone. What became of their
// attempts to connect goes to a [stats.Recorder].
//
// Anyone who can reach the page can read it: put it behind what keeps strangers out, if they
// are not to. It is for names of this machine alone until Config.Hosts says otherwise.
package dashboard
