package app

import "net"

// Addr returns the address at which the server listens.
func (h *host) Addr() net.Addr { return h.listener.Addr() }

// MetricsAddr returns the address of the metrics.
func (h *host) MetricsAddr() net.Addr { return h.metricsListener.Addr() }
