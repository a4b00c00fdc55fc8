// Package web tries the web page of a control plane in a real Chromium: what people see,
// with and without scripts, by keyboard, on a narrow screen, and what hostile names do to
// it. The control plane is the sallyport binary; most gateways are light ones (package
// fleet), some real Envoys. It has no code of its own.
package web
