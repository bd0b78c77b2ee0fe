package natprobe

// The machine that measures lifetimes, for the tests in simulated worlds.
var NewLifetimeProbe = newLifetimeProbe

type LifetimeEvent = lifetimeEvent
