// Package packages tests the files of a release as their users receive them: archives,
// packages, the systemd unit, manual pages and completions. Its tests have the build tag
// packages, since they need root and programs of Debian, and boot a system in a
// container: `make test-packages` installs those and runs them.
package packages
