// Package clickhouse holds the test of the SQL in docs/fleet.md: it is run in ClickHouse
// itself, which the npm package chdb has as a library.
package clickhouse
