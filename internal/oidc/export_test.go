package oidc

// CheckIssuer is checkIssuer, for tests.
var CheckIssuer = checkIssuer
