package control

import (
	"net/http"

	"sallyport/policy/model"
	"sallyport/xds/server"
)

// Causes says where what a gateway of a group rejects was written.
func Causes(g *model.Gateway, r server.Rejection) []server.Cause { return causes(g, r) }

// Served is what rejections of a group are explained by.
func (c *Controller) Served(group string) func(server.Rejection) []server.Cause {
	return c.causesOf(group)
}

// Metrics serves a status for Prometheus.
func Metrics(s Status) http.Handler { return metricsHandler(func() Status { return s }) }
