package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Sizes of a picture, in points.
const (
	pngWidth   = 760
	pngMargin  = 14
	titleRoom  = 26
	headRoom   = 22 // a chart's title and legend
	markRow    = 13
	mainHeight = 165
	sideHeight = 110
	markLine   = 13
)

// pngDPI is a variable because drawing large pictures is most of what the
// tests would do.
var pngDPI = 144

var (
	ink   = color.NRGBA{22, 25, 29, 255}
	soft  = color.NRGBA{84, 92, 102, 255}
	faint = color.NRGBA{22, 25, 29, 22}
	fault = color.NRGBA{201, 120, 0, 34}
	band  = color.NRGBA{22, 25, 29, 9}
	grey  = color.NRGBA{107, 115, 125, 255}
)

func sans(points float64, c color.Color, weight string) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Length(points)}
	if weight == "bold" {
		f.Weight = 3 // font.WeightBold of golang.org/x/image
	}
	return text.Style{Color: c, Font: f, Handler: plot.DefaultTextHandler}
}

// writePNG draws all charts of a group into one picture: the main charts over
// the whole width, one below the other on one time axis, the others in two
// columns, and the list of marks at the bottom.
func writePNG(w io.Writer, title string, g GroupView, styles []EngineStyle) error {
	var large, small []Chart
	for _, c := range g.Charts {
		if c.Main {
			large = append(large, c)
		} else {
			small = append(small, c)
		}
	}
	sideRows := (len(small) + 1) / 2
	chips := chipsOf(g.Marks, g.Charts[0].End, pngWidth-100)
	rows := 0
	for _, c := range chips {
		rows = max(rows, c.row+1)
	}
	mainHead := vg.Length(headRoom + rows*markRow)
	listing := markListing(g.Marks, pngWidth-2*pngMargin)
	height := vg.Length(2*pngMargin+titleRoom) + vg.Length(len(large))*(mainHeight+mainHead) +
		vg.Length(sideRows)*(sideHeight+headRoom) + vg.Length(len(listing)*markLine+8)

	img := vgimg.NewWith(vgimg.UseWH(pngWidth, height), vgimg.UseDPI(pngDPI), vgimg.UseBackgroundColor(color.White))
	all := draw.New(img)
	top := all.Max.Y - pngMargin
	c := all
	c.FillText(sans(13, ink, "bold"), vg.Point{X: pngMargin, Y: top - 13}, title)
	top -= titleRoom

	top = tiles(all, large, styles, 1, mainHeight, mainHead, top, chips)
	top = tiles(all, small, styles, 2, sideHeight, headRoom, top, nil)
	for i, line := range listing {
		c.FillText(sans(8.5, soft, ""), vg.Point{X: pngMargin, Y: top - 8 - vg.Length(i+1)*markLine}, line)
	}
	_, err := vgimg.PngCanvas{Canvas: img}.WriteTo(w)
	return err
}

// tiles draws charts in columns below top and returns where they end.
func tiles(all draw.Canvas, charts []Chart, styles []EngineStyle, columns int, height, head, top vg.Length, chips []chip) vg.Length {
	if len(charts) == 0 {
		return top
	}
	rows := (len(charts) + columns - 1) / columns
	bottom := top - vg.Length(rows)*(height+head)
	grid := make([][]*plot.Plot, rows)
	for r := range grid {
		grid[r] = make([]*plot.Plot, columns)
		for i := range grid[r] {
			if k := r*columns + i; k < len(charts) {
				grid[r][i] = plotOf(charts[k], styles, chips)
			}
		}
	}
	area := draw.Canvas{Canvas: all.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: pngMargin, Y: bottom}, Max: vg.Point{X: all.Max.X - pngMargin, Y: top}}}
	layout := draw.Tiles{Rows: rows, Cols: columns, PadTop: head, PadY: head, PadX: 18, PadRight: 6}
	canvases := plot.Align(grid, layout, area)
	for r := range grid {
		for i, p := range grid[r] {
			if p == nil {
				continue
			}
			p.Draw(canvases[r][i])
			header(canvases[r][i], charts[r*columns+i], styles, head)
		}
	}
	return bottom
}

// header writes a chart's title and legend above it.
func header(c draw.Canvas, chart Chart, styles []EngineStyle, head vg.Length) {
	y := c.Max.Y + head - 13
	bold, plain := sans(9.5, ink, "bold"), sans(8.5, soft, "")
	x := c.Min.X
	c.FillText(bold, vg.Point{X: x, Y: y}, chart.Title)
	x += bold.Width(chart.Title) + 6
	unit := chart.Unit
	if chart.Log {
		unit += ", logarithmic"
	}
	c.FillText(plain, vg.Point{X: x, Y: y}, unit)
	x += plain.Width(unit) + 14
	names := vg.Length(0)
	for _, l := range chart.Lines {
		names += 36 + plain.Width(l.Name)
	}
	if x+names-10 > c.Max.X && !chart.Main {
		return // the large charts above name the same lines
	}
	for _, l := range chart.Lines {
		style := lineStyle(l, styles)
		c.StrokeLine2(style, x, y+3, x+22, y+3)
		x += 26
		c.FillText(plain, vg.Point{X: x, Y: y}, l.Name)
		x += plain.Width(l.Name) + 10
	}
}

func lineStyle(l Line, styles []EngineStyle) draw.LineStyle {
	if l.Engine == "" {
		return draw.LineStyle{Color: grey, Width: 1, Dashes: []vg.Length{1, 2.5}}
	}
	s := draw.LineStyle{Color: ink, Width: 1.6}
	if l.Thin {
		s.Width = 0.8
	}
	for _, e := range styles {
		if e.Engine != l.Engine {
			continue
		}
		s.Color = hex(e.Light)
		for _, d := range e.Dash {
			s.Dashes = append(s.Dashes, vg.Length(d*0.7))
		}
	}
	return s
}

// plotOf makes a chart a plot without title and legend.
func plotOf(chart Chart, styles []EngineStyle, chips []chip) *plot.Plot {
	p := plot.New()
	format := unitFormat(chart.Unit)
	p.X.Min, p.X.Max = 0, chart.End
	low, high := valueRange(chart)
	p.Y.Min, p.Y.Max = low, high
	if chart.Log {
		p.Y.Scale = plot.LogScale{}
		p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return logTicks(low, high, format) })
	} else {
		p.Y.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick { return someTicks(low, high, 4, chart.Unit == "bytes", format) })
	}
	p.X.Tick.Marker = plot.TickerFunc(func(low, high float64) []plot.Tick {
		return someTicks(low, high, 9, false, func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) + " s" })
	})
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Padding = 0
		a.LineStyle = draw.LineStyle{Color: grey, Width: 0.5}
		a.Tick.LineStyle = draw.LineStyle{Color: grey, Width: 0.5}
		a.Tick.Length = 3
		a.Tick.Label.Font = sans(8, soft, "").Font
		a.Tick.Label.Color = soft
	}
	p.Add(background{chart})
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal = draw.LineStyle{Color: faint, Width: 0.5}
	p.Add(grid)
	for _, l := range chart.Lines {
		for _, points := range pieces(l) {
			line := &plotter.Line{XYs: points, LineStyle: lineStyle(l, styles)}
			p.Add(line)
		}
	}
	p.Add(foreground{chart, styles, chips})
	// Adding lines widens the axes; the frame is what was chosen above.
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, chart.End, low, high
	return p
}

// pieces cuts a line at its gaps. A point on its own becomes a short dash.
func pieces(l Line) []plotter.XYs {
	var all []plotter.XYs
	var piece plotter.XYs
	end := func() {
		if len(piece) == 1 {
			piece = append(piece, plotter.XY{X: piece[0].X + latencyBin/3, Y: piece[0].Y})
		}
		if len(piece) > 0 {
			all = append(all, piece)
		}
		piece = nil
	}
	for i, y := range l.Y {
		if math.IsNaN(float64(y)) {
			end()
			continue
		}
		piece = append(piece, plotter.XY{X: l.X[i], Y: float64(y)})
	}
	end()
	return all
}

// valueRange is the vertical range of a chart.
func valueRange(chart Chart) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range chart.Lines {
		for _, y := range l.Y {
			if v := float64(y); !math.IsNaN(v) && (!chart.Log || v > 0) {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	for _, l := range chart.Levels {
		high = max(high, l.At)
	}
	if math.IsInf(low, 0) {
		low, high = 1, 10
	}
	if chart.Log {
		return low / 1.25, max(high*1.7, low*2)
	}
	if high <= 0 {
		return 0, 1
	}
	return 0, high * 1.15
}

// shortTick drops the zeros that significant digits end in: 1.00 s is 1 s on
// an axis.
func shortTick(s string) string {
	unit := unitOf(s)
	number := strings.TrimSuffix(s, unit)
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return number + unit
}

func logTicks(low, high float64, format func(float64) string) []plot.Tick {
	steps := []float64{1}
	switch span := math.Log10(high / low); {
	case span < 1:
		steps = []float64{1, 1.5, 2, 3, 5, 7}
	case span < 3:
		steps = []float64{1, 2, 5}
	}
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for _, s := range steps {
			if v := s * math.Pow(10, e); v >= low && v <= high {
				ticks = append(ticks, plot.Tick{Value: v, Label: shortTick(format(v))})
			}
		}
	}
	return ticks
}

// someTicks puts about n ticks at round values, which for bytes are powers of
// two.
func someTicks(low, high float64, n int, binary bool, format func(float64) string) []plot.Tick {
	raw := (high - low) / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	if binary {
		raw, step = 0, math.Exp2(math.Ceil(math.Log2(raw)))
	}
	for _, m := range []float64{1, 2, 5, 10} {
		if step*m >= raw {
			step *= m
			break
		}
	}
	var ticks []plot.Tick
	for i := math.Ceil(low / step); i*step <= high*(1+1e-9); i++ {
		v := i * step
		ticks = append(ticks, plot.Tick{Value: v, Label: shortTick(format(math.Round(v/step) * step))})
	}
	return ticks
}

// background draws phases behind the lines.
type background struct{ chart Chart }

// Plot implements plot.Plotter.
func (b background) Plot(c draw.Canvas, p *plot.Plot) {
	tx, _ := p.Transforms(&c)
	for i, ph := range b.chart.Phases {
		from, to := tx(max(0, ph.From)), tx(min(ph.To, b.chart.End))
		area := []vg.Point{{X: from, Y: c.Min.Y}, {X: to, Y: c.Min.Y}, {X: to, Y: c.Max.Y}, {X: from, Y: c.Max.Y}}
		switch {
		case ph.Fault:
			c.FillPolygon(fault, area)
			hatch := draw.LineStyle{Color: fault, Width: 0.8}
			height := c.Max.Y - c.Min.Y
			for x := from - height; x < to; x += 9 {
				left, right := max(x, from), min(x+height, to)
				c.StrokeLine2(hatch, left, c.Min.Y+(left-x), right, c.Min.Y+(right-x))
			}
		case i%2 == 0:
			c.FillPolygon(band, area)
		}
		style := sans(7.5, soft, "")
		if b.chart.Main && style.Width(ph.Name) < to-from-4 {
			c.FillText(style, vg.Point{X: from + 3, Y: c.Max.Y - 9}, ph.Name)
		}
	}
}

// foreground draws levels and numbered marks over the lines.
type foreground struct {
	chart  Chart
	styles []EngineStyle
	chips  []chip
}

// Plot implements plot.Plotter.
func (f foreground) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	for _, l := range f.chart.Levels {
		y := ty(l.At)
		c.StrokeLine2(draw.LineStyle{Color: soft, Width: 0.6, Dashes: []vg.Length{1.5, 2}}, c.Min.X, y, c.Max.X, y)
		c.FillText(sans(7.5, soft, ""), vg.Point{X: c.Min.X + 3, Y: y + 2}, l.Label)
	}
	for _, m := range f.chart.Marks {
		x := tx(m.At)
		c.StrokeLine2(f.markStyle(m.Engine), x, c.Min.Y, x, c.Max.Y)
	}
	number := sans(7.5, ink, "")
	number.XAlign = text.XCenter
	for _, chip := range f.chips {
		x, y := tx(chip.at), c.Max.Y+3+vg.Length(chip.row*markRow)
		c.StrokeLine2(f.markStyle(chip.engine), x, c.Max.Y, x, y)
		c.FillText(number, vg.Point{X: x, Y: y + 1}, chip.text)
	}
}

func (f foreground) markStyle(engine string) draw.LineStyle {
	style := lineStyle(Line{Engine: engine}, f.styles)
	style.Width = 0.8
	if engine == "" {
		style.Color, style.Dashes = ink, []vg.Length{2, 2}
	}
	return style
}

// chip is the number of a mark above a chart, or those of a few marks of one
// engine that lie too close together for a number each.
type chip struct {
	at       float64
	engine   string
	from, to int
	row      int
	text     string
}

// chipsOf puts the numbers of marks into rows so that none covers another.
func chipsOf(marks []Mark, end, width float64) []chip {
	if end <= 0 {
		return nil
	}
	var chips []chip
	lastX := 0.0
	for _, m := range marks {
		x := m.At / end * width
		if n := len(chips); n > 0 && chips[n-1].engine == m.Engine && x-lastX < 12 {
			chips[n-1].to = m.N
		} else {
			chips = append(chips, chip{at: m.At, engine: m.Engine, from: m.N, to: m.N})
		}
		lastX = x
	}
	var ends []float64
	for i := range chips {
		c := &chips[i]
		c.text = strconv.Itoa(c.from)
		if c.to > c.from {
			c.text += "–" + strconv.Itoa(c.to)
		}
		x, half := c.at/end*width, 3+2.2*float64(utf8.RuneCountInString(c.text))
		for c.row < len(ends) && x-half <= ends[c.row] {
			c.row++
		}
		if c.row == len(ends) {
			ends = append(ends, 0)
		}
		ends[c.row] = x + half
	}
	return chips
}

// markListing writes what the numbers mean, in lines that fit the width.
func markListing(marks []Mark, width vg.Length) []string {
	style := sans(8.5, soft, "")
	var lines []string
	line := ""
	for _, m := range marks {
		label := m.Label
		if m.Engine != "" {
			label = m.Engine + " " + label
		}
		item := fmt.Sprintf("%d  %s (%s)", m.N, label, seconds(m.At))
		if line != "" && style.Width(line+"     "+item) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += "     "
		}
		line += item
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
