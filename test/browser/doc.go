// Package browser runs the dashboard in Chromium against `baton up --demo`: web/e2e holds the script of what a person
// does, this package starts everything, counts each step as a test, and keeps the screenshots.
package browser
