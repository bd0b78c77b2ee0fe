package main

import (
	"encoding/json"
	"time"
)

// record is the table in JSON.
type record struct {
	Command   string       `json:"command"`
	TimeoutMS int64        `json:"timeout_ms"`
	Loss      float64      `json:"loss"`
	Pairs     []pairRecord `json:"pairs"`
}

// pairRecord is a cell. What there is none of is missing.
type pairRecord struct {
	NATs     [2]string `json:"nats"`
	Runs     int       `json:"runs"`
	Usable   int       `json:"usable"`
	Direct   int       `json:"direct"`
	UsableMS *int64    `json:"usable_ms,omitempty"`
	DirectMS *int64    `json:"direct_ms,omitempty"`
	Ways     []string  `json:"ways,omitempty"`
	Packets  [2]int    `json:"packets"`
	Why      string    `json:"why,omitempty"`
}

// json is the table for programs, each pair once.
func (t table) json() string {
	r := record{Command: t.command, TimeoutMS: t.timeout.Milliseconds(), Loss: t.loss}
	for i, a := range t.nats {
		for j, b := range t.nats[i:] {
			c := t.at(i, i+j)
			r.Pairs = append(r.Pairs, pairRecord{
				NATs: [2]string{a, b}, Runs: c.runs, Usable: c.usable, Direct: c.direct,
				UsableMS: medianOf(c.usable, c.after), DirectMS: medianOf(c.direct, c.straight), Ways: c.ways, Packets: c.packets, Why: c.why,
			})
		}
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil { // numbers and texts always have a form
		return err.Error()
	}
	return string(text) + "\n"
}

// medianOf is a median of n times in milliseconds; nil if there were none.
func medianOf(n int, d time.Duration) *int64 {
	if n == 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}
