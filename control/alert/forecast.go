package alert

import "time"

// Point is how much was free at a moment.
type Point struct {
	At        time.Time
	FreeBytes float64
}

// A forecast is made from at least so many points over at least so long.
// It is believed at most so many times as far ahead as it looks back: a file
// copied within half an hour says nothing about next week.
const (
	forecastPoints = 20
	forecastSpan   = 30 * time.Minute
	forecastReach  = 50
)

// Forecast says how long the free space lasts, by the straight line that fits
// the points best: 0 when it is used up, negative when it is not shrinking. ok
// is false when too little is known. Points are sorted by time.
func Forecast(points []Point, now time.Time) (left time.Duration, ok bool) {
	if len(points) < forecastPoints || points[len(points)-1].At.Sub(points[0].At) < forecastSpan {
		return 0, false
	}
	var meanX, meanY float64
	n := float64(len(points))
	for _, p := range points {
		meanX += p.At.Sub(now).Seconds() / n
		meanY += p.FreeBytes / n
	}
	var xx, xy float64
	for _, p := range points {
		x := p.At.Sub(now).Seconds() - meanX
		xx += x * x
		xy += x * (p.FreeBytes - meanY)
	}
	slope := xy / xx                   // bytes per second
	if slope*86400 > -float64(1<<20) { // less than 1 MiB a day is not growth
		return -1, true
	}
	free := meanY - slope*meanX // where the line is now
	seconds := free / -slope
	if reach := forecastReach * points[len(points)-1].At.Sub(points[0].At); seconds > reach.Seconds() {
		return -1, true
	}
	return time.Duration(max(0, seconds)) * time.Second, true
}
