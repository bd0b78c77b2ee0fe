// Package decay says how fast what was learned about a path fades: by a factor of
// 0.92 an hour, until it is forgotten after 24 hours. Whoever keeps a history of
// successes and failures, in memory or in a database, asks here, so that the same
// history has the same worth everywhere.
package decay
