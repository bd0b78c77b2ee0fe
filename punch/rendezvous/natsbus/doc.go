// Package natsbus joins rendezvous servers into one service by way of NATS.
package natsbus
