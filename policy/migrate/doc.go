// Package migrate writes policies of other systems in our own language. What it
// writes means what was there: it compiles both and compares them, verdict by
// verdict, and reports every difference. What our language cannot say is kept as
// it was, beside the rest.
package migrate
