// Maximum and average over 3x3, padding 1, together: one read of x, statistics of both; and their backward.
//
// The first maximum in scan order wins and the last NaN, as in PyTorch; the average is over real pixels only. A piece
// of work is one image; sums are shifted by the mean of its first row and combined by Chan's formula in double.
// L lanes, C channels
#include "host/host.hpp"

namespace {

struct Pool {
    int batch, channels, height, width, stride, terms;
    int out_height() const { return (height - 1) / stride + 1; }
    int out_width() const { return (width - 1) / stride + 1; }
    size_t image() const { return size_t(height) * width * channels; }
    size_t out_image() const { return size_t(out_height()) * out_width() * channels; }
    int wide() const { return blocks(channels) * L; }
};

// The real rows or columns of window `out`: from `low` to below `high`.
struct Window {
    int low, high;
    Window(int out, int stride, int size)
        : low(std::max(out * stride - 1, 0)), high(std::min(out * stride + 2, size)) {}
    int count() const { return high - low; }
};

struct Sums {
    float *shift, *one, *two;  // mean of the first row, sum of (y - shift), of its square
};

void add_row(const float* y, int columns, int C, bool first, const Sums& to) {
    for (int c = 0; c < C; c += L) {
        const int n = C - c;
        vec one = {}, two = {};
        if (first) {
            for (int x = 0; x < columns; x++) one += load(y + size_t(x) * C + c, n);
            store(to.shift + c, one * (1.f / columns));
            one = vec{};
        }
        const vec shift = load(to.shift + c);
        for (int x = 0; x < columns; x++) {
            const vec d = load(y + size_t(x) * C + c, n) - shift;
            one += d;
            two += d * d;
        }
        store(to.one + c, load(to.one + c) + one);
        store(to.two + c, load(to.two + c) + two);
    }
}

void pool_image(const Pool& s, const float* x, float* most, float* average, float* sums) {
    const int C = s.channels, columns = s.out_width(), wide = s.wide();
    const size_t line = size_t(s.width) * C;
    std::fill_n(sums, 6 * wide, 0.f);
    for (int y = 0; y < s.out_height(); y++) {
        const Window rows(y, s.stride, s.height);
        float *to_most = most + size_t(y) * columns * C, *to_average = average + size_t(y) * columns * C;
        for (int c = 0; c < C; c += L) {
            const int n = C - c;
            for (int ox = 0; ox < columns; ox++) {
                const Window cols(ox, s.stride, s.width);
                vec top = splat(-INFINITY), sum = {};
                for (int iy = rows.low; iy < rows.high; iy++)
                    for (int ix = cols.low; ix < cols.high; ix++) {
                        const vec v = load(x + iy * line + size_t(ix) * C + c, n);
                        top = (v > top) | (v != v) ? v : top;
                        sum += v;
                    }
                store(to_most + size_t(ox) * C + c, top, n);
                store(to_average + size_t(ox) * C + c, sum / float(rows.count() * cols.count()), n);
            }
        }
        add_row(to_most, columns, C, y == 0, {sums, sums + wide, sums + 2 * wide});
        add_row(to_average, columns, C, y == 0, {sums + 3 * wide, sums + 4 * wide, sums + 5 * wide});
    }
}

struct Gradient {
    const float* const* g;
    const float *factor, *b, *c;  // [3, n, C], [2, C], [2, C]
};

// d of one pool's output: sum of factor[n] * g[n] + b * pooled + c, for `pixels` pixels from `at`
void upstream(const Pool& s, const Gradient& from, int which, const float* pooled, size_t at, int pixels, float* out) {
    const int C = s.channels, wide = s.wide();
    for (int c = 0; c < C; c += L) {
        const int n = C - c;
        const vec b = pooled ? load(from.b + which * C + c, n) : vec{};
        const vec add = pooled ? load(from.c + which * C + c, n) : vec{};
        for (int x = 0; x < pixels; x++) {
            const vec y = pooled ? b * load(pooled + at + size_t(x) * C + c, n) + add : vec{};
            store(out + size_t(x) * wide + c, y);
        }
        for (int t = 0; t < s.terms; t++) {
            const vec factor = load(from.factor + (size_t(which) * s.terms + t) * C + c, n);
            const float* g = from.g[t] + at + c;
            for (int x = 0; x < pixels; x++) {
                float* to = out + size_t(x) * wide + c;
                store(to, load(to) + factor * load(g + size_t(x) * C, n));
            }
        }
    }
}

// Adds one output row's share of dx, both pools, into dx of this image [height, width, wide].
void scatter_row(const Pool& s, const float* x, int y, const float* d_most, const float* d_average, float* dx) {
    const int C = s.channels, wide = s.wide();
    const size_t line = size_t(s.width) * C;
    const Window rows(y, s.stride, s.height);
    for (int c = 0; c < C; c += L) {
        const int n = C - c;
        for (int ox = 0; ox < s.out_width(); ox++) {
            const Window cols(ox, s.stride, s.width);
            vec top = splat(-INFINITY);
            veci index = {};
            int tap = 0;
            for (int iy = rows.low; iy < rows.high; iy++)
                for (int ix = cols.low; ix < cols.high; ix++, tap++) {
                    const vec v = load(x + iy * line + size_t(ix) * C + c, n);
                    const veci wins = (v > top) | (v != v);
                    top = wins ? v : top;
                    index = wins ? veci{} + tap : index;
                }
            const vec most = load(d_most + size_t(ox) * wide + c);
            const vec average = load(d_average + size_t(ox) * wide + c) / float(rows.count() * cols.count());
            tap = 0;
            for (int iy = rows.low; iy < rows.high; iy++)
                for (int ix = cols.low; ix < cols.high; ix++, tap++) {
                    float* to = dx + (size_t(iy) * s.width + ix) * wide + c;
                    store(to, load(to) + (average + (index == tap ? most : vec{})));
                }
        }
    }
}

void backward_image(const Pool& s, const float* x, const Gradient& from, const float* most, const float* average,
                    int image, float* dx) {
    const int C = s.channels, wide = s.wide(), columns = s.out_width(), pixels = s.height * s.width;
    Scratch scratch(room(size_t(pixels) * wide) + 2 * room(size_t(columns) * wide));
    float *sum = scratch.take(size_t(pixels) * wide), *d_most = scratch.take(size_t(columns) * wide);
    float* d_average = scratch.take(size_t(columns) * wide);
    if (s.stride == 1)
        upstream(s, from, 2, nullptr, image * s.out_image(), pixels, sum);
    else
        std::fill_n(sum, size_t(pixels) * wide, 0.f);
    for (int y = 0; y < s.out_height(); y++) {
        const size_t at = image * s.out_image() + size_t(y) * columns * C;
        upstream(s, from, 0, most, at, columns, d_most);
        upstream(s, from, 1, average, at, columns, d_average);
        scatter_row(s, x + image * s.image(), y, d_most, d_average, sum);
    }
    float* to = dx + image * s.image();
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < C; c += L) store(to + size_t(p) * C + c, load(sum + size_t(p) * wide + c), C - c);
}

}  // namespace

// shape: batch, C, height, width, stride. pooled [2, B, H', W', C] = maximum, average; statistics [2, C]
extern "C" void pool_pair(
    int threads, const int* shape, const float* x, double eps, float* pooled, float* out_mean, float* var,
    float* rstd) {
    const Pool s{shape[0], shape[1], shape[2], shape[3], shape[4], 0};
    const int wide = s.wide(), C = s.channels;
    const size_t whole = s.batch * s.out_image();
    std::unique_ptr<float[]> sums(new float[size_t(s.batch) * 6 * wide]);
    parallel(threads, s.batch, [&](int i) {
        float* most = pooled + i * s.out_image();
        pool_image(s, x + i * s.image(), most, most + whole, sums.get() + size_t(i) * 6 * wide);
    });
    const double more = double(s.out_height()) * s.out_width();
    for (int i = 0; i < 2 * C; i++) {
        Moments all;
        for (int image = 0; image < s.batch; image++) {
            const float* own = sums.get() + (size_t(image) * 6 + (i / C) * 3) * wide + i % C;
            all.add(more, own[0], own[wide], own[2 * wide]);
        }
        all.write(eps, out_mean + i, var + i, rstd + i);
    }
}

extern "C" void pool_pair_bwd(
    int threads, const int* shape, const float* x, const float* pooled, const float* const* g, const float* factor,
    const float* b, const float* c, float* dx) {
    const Pool s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    const size_t whole = s.batch * s.out_image();
    parallel(threads, s.batch, [&](int i) {
        backward_image(s, x, {g, factor, b, c}, pooled, pooled + whole, i, dx);
    });
}
