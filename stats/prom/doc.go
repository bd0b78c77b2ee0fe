// Package prom shows what a stats.Recorder counts to Prometheus.
//
// A [Collector] is registered where the program's other metrics are; nothing is global. All
// labels are of closed sets, so that the number of series is bounded by the recorder's
// Config.MaxCells, whatever clients send.
//
//	bradawl_stages_total{stage,status,local_nat,remote_nat,pair}   counter
//	bradawl_ways_total{stage,status,lane,reason}                   counter
//	bradawl_stage_latency_seconds{stage,pair}                      histogram, of successes; native and classic
//	bradawl_sessions_total{local_nat,ab_group,result}              counter; direct, relayed, failed, unreached or cancelled at the first path
//	bradawl_upgrades_total{local_nat,ab_group}                     counter; of those relayed at first, how many became direct
//	bradawl_window_sessions{local_nat,result}                      gauge, over the recorder's window; upgraded ones are direct
//	bradawl_events_total{result}                                   counter; recorded, duplicate, late or invalid: the ledger
//	bradawl_events_flagged_total{flag}                             counter; of the recorded ones: clamped, unchecked, overflown (up to two of each)
//
// The rates that matter are quotients of these, with the n that they rest on:
//
//	sum(rate(bradawl_sessions_total{result="relayed"}[1h])) - sum(rate(bradawl_upgrades_total[1h]))   relayed for good
//
// Without Prometheus, one line of shell sums up the failures of all stages:
//
//	curl -s http://HOST:PORT/metrics | awk '/^bradawl_stages_total.*status="(fail|time_out)"/ {n += $NF} END {print n+0}'
//
// The folder has alerts (alerts.yml) and a Grafana dashboard (grafana.json) made for these
// names.
package prom
