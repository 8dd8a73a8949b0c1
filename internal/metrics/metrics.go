// Package metrics counts what a server does, for Prometheus. No input of a client
// ever becomes the value of a label: each label has a fixed set of values, so that
// an attacker cannot fill the memory of the Prometheus server.
package metrics

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/curfew/token"
)

// Metrics are the counters of one process. Its methods are safe for concurrent
// use. The zero value is not usable; [New] makes one.
type Metrics struct {
	requests     *prometheus.CounterVec
	requestTime  *prometheus.HistogramVec
	validations  map[token.Reason]*counter // "" for good tokens
	validateTime prometheus.Histogram
	signIns      *prometheus.CounterVec
	through      *prometheus.CounterVec
	revocations  *prometheus.CounterVec
	receipts     *prometheus.HistogramVec
	limited      *prometheus.CounterVec
}

// counter is a count that can be read back, for the console.
type counter struct {
	prometheus.Counter
	n atomic.Uint64
}

func (c *counter) inc() {
	c.Inc()
	c.n.Add(1)
}

// SignInThrough counts an attempt to sign in through a provider. provider is a name that
// an administrator has given, "" if the attempt is of none.
func (m *Metrics) SignInThrough(provider, outcome string) {
	m.through.WithLabelValues(provider, outcome).Inc()
}

// New returns metrics that are registered with registry. A nil registry leaves
// them unregistered.
func New(registry prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_http_requests_total",
			Help: "Requests answered, by route, method and status. 499: the client left before the answer.",
		}, []string{"route", "method", "status"}),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "curfew_http_request_duration_seconds",
			Help:    "Time from the arrival of a request to its last byte, by route. Held requests include the time held.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"route"}),
		validateTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "curfew_validation_duration_seconds",
			Help:    "Time that a validation of a token took.",
			Buckets: []float64{.000001, .000005, .00001, .00005, .0001, .00025, .0005, .001, .005, .025, .1, .5, 2.5},
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_sign_ins_total",
			Help: "Attempts to sign in with a password, by outcome: good, or the code of the refusal.",
		}, []string{"outcome"}),
		through: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_provider_sign_ins_total",
			Help: "Attempts to sign in through an identity provider, by provider and outcome: good, or the reason of the refusal; authenticate_again: a second attempt was started.",
		}, []string{"provider", "outcome"}),
		revocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_revocations_total",
			Help: "Revocations made through this process, by scope.",
		}, []string{"scope"}),
		receipts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "curfew_receipt_close_seconds",
			Help:    "Time from the commit of a revocation until it was in force everywhere, by what closed its receipt: confirmation, or lease if a lease ran out first.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 20, 30, 60},
		}, []string{"closed_by"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "curfew_limited_total",
			Help: "Calls that a limit on their number refused, by limit.",
		}, []string{"limit"}),
		validations: map[token.Reason]*counter{},
	}
	for _, by := range []string{"confirmation", "lease"} {
		m.receipts.WithLabelValues(by) // shown from the start
	}
	validations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "curfew_validations_total",
		Help: "Tokens validated, by the reason of the refusal; good if there was none.",
	}, []string{"reason"})
	m.validations[""] = &counter{Counter: validations.WithLabelValues("good")}
	for _, reason := range token.Reasons() {
		m.validations[reason] = &counter{Counter: validations.WithLabelValues(string(reason))}
	}
	if registry == nil {
		return m, nil
	}
	return m, register(registry, m.requests, m.requestTime, m.validateTime, m.signIns, m.through, m.revocations, m.receipts, m.limited, validations)
}

func register(registry prometheus.Registerer, all ...prometheus.Collector) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, registry.Register(c))
	}
	return errors.Join(errs...)
}

// Request counts a request that was answered. route is the pattern, "" if there
// was none.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.requestTime.WithLabelValues(route).Observe(took.Seconds())
}

// Answered returns Request for one route and status 200, which finds its counters
// once and not at each call.
func (m *Metrics) Answered(route string) func(method string, took time.Duration) {
	byMethod := map[string]func() prometheus.Counter{}
	for _, method := range append([]string{"other"}, methods...) {
		byMethod[method] = sync.OnceValue(func() prometheus.Counter {
			return m.requests.WithLabelValues(route, method, strconv.Itoa(http.StatusOK))
		})
	}
	duration := sync.OnceValue(func() prometheus.Observer { return m.requestTime.WithLabelValues(route) })
	return func(method string, took time.Duration) {
		counter, ok := byMethod[method]
		if !ok {
			counter = byMethod["other"]
		}
		counter().Inc()
		duration().Observe(took.Seconds())
	}
}

// methods are those of RFC 9110, section 9, and PATCH.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// Validation counts a decision: it is the Observe of a token.Config.
func (m *Metrics) Validation(reason token.Reason, took time.Duration) {
	c := m.validations[reason]
	if c == nil { // there is no such reason; as in token.ReasonOf, it proves nothing
		c = m.validations[token.ErrUnavailable]
	}
	c.inc()
	m.validateTime.Observe(took.Seconds())
}

// Refusals returns how many tokens were refused since the process started, by
// reason; reasons that have not occurred are left out.
func (m *Metrics) Refusals() map[token.Reason]uint64 {
	refusals := map[token.Reason]uint64{}
	for reason, c := range m.validations {
		if n := c.n.Load(); reason != "" && n > 0 {
			refusals[reason] = n
		}
	}
	return refusals
}

// SignIn counts an attempt to sign in: code is the code word of the refusal, ""
// if it was good.
func (m *Metrics) SignIn(code string) {
	if code == "" {
		code = "good"
	}
	m.signIns.WithLabelValues(code).Inc()
}

// Revoked counts a revocation of a scope: everyone, remembered, user or
// session.
func (m *Metrics) Revoked(scope string) { m.revocations.WithLabelValues(scope).Inc() }

// ReceiptClosed counts a receipt that this process has closed: by store.ByConfirmation
// or store.ByLease.
func (m *Metrics) ReceiptClosed(by string, took time.Duration) {
	m.receipts.WithLabelValues(by).Observe(max(0, took).Seconds())
}

// Limited counts a call that a limit refused. The names of limits are constants of
// the packages that have them.
func (m *Metrics) Limited(limit string) { m.limited.WithLabelValues(limit).Inc() }
