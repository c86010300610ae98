// Rows of separable convolutions: what the forward and the backward bodies are made of.
//
// Scratch is blocked by channels: [blocks][rows][columns][L], so that offsets between pixels are constants; channels
// past C are zeros. k kernel size, s stride, d dilation; w are packed weights: depthwise [blocks][k * k][L],
// pointwise [channels in][channels out, padded].
#pragma once

#include "host/host.hpp"

struct Shape {
    int batch, channels, height, width, stride, branches;
    int out_height() const { return (height + stride - 1) / stride; }
    int out_width() const { return (width + stride - 1) / stride; }
    int padded() const { return blocks(channels) * L; }
    size_t image() const { return size_t(height) * width * channels; }
    size_t out_image() const { return size_t(out_height()) * out_width() * channels; }
};

// One branch: its weights as they came and packed.
struct Branch {
    const float *dw, *pw;
    int k, dilation;
    bool on;
    std::vector<float> taps, flipped, forward, backward;
    int pad() const { return dilation * (k / 2); }

    void pack(int channels, bool transposed) {
        const int wide = blocks(channels) * L, kk = k * k;
        taps.assign(size_t(wide) * kk, 0.f);
        for (int c = 0; c < channels; c++)
            for (int i = 0; i < kk; i++) taps[(size_t(c / L) * kk + i) * L + c % L] = dw[c * kk + i];
        auto& matrix = transposed ? backward : forward;
        matrix.assign(size_t(channels) * wide, 0.f);
        for (int o = 0; o < channels; o++)
            for (int i = 0; i < channels; i++)
                matrix[transposed ? size_t(o) * wide + i : size_t(i) * wide + o] = pw[size_t(o) * channels + i];
        if (!transposed) return;
        flipped.resize(taps.size());
        for (int b = 0; b < wide / L; b++)
            for (int i = 0; i < kk; i++)
                std::copy_n(&taps[(size_t(b) * kk + i) * L], L, &flipped[(size_t(b) * kk + kk - 1 - i) * L]);
    }
};

// A padded image part: rows `top` .. `top + rows` and columns `-left` .. `columns - left` of an image.
struct Band {
    float* at;
    int top, rows, left, columns;
    size_t line() const { return size_t(columns) * L; }
    size_t block() const { return rows * line(); }
    float* row(int block_index, int y) const { return at + block_index * block() + (y - top) * line() + left * L; }
    size_t size(int channel_blocks) const { return channel_blocks * block(); }
    void clear(int channel_blocks) const { std::memset(at, 0, size(channel_blocks) * sizeof(float)); }
};

// Fills `band` from an image [height, width, C] through f(vector, channel block); zeros outside the image.
template <class F>
static INLINE void fill(const Band& band, const float* image, const Shape& s, F f) {
    const int count = blocks(s.channels);
    for (int b = 0; b < count; b++) {
        const int n = s.channels - b * L;
        for (int y = band.top; y < band.top + band.rows; y++) {
            float* line = band.row(b, y) - band.left * L;
            if (y < 0 || y >= s.height) {
                std::memset(line, 0, band.line() * sizeof(float));
                continue;
            }
            std::memset(line, 0, band.left * L * sizeof(float));
            float* to = line + band.left * L;
            const float* from = image + size_t(y) * s.width * s.channels + b * L;
            for (int x = 0; x < s.width; x++) {
                const float* pixel = from + size_t(x) * s.channels;
                __builtin_prefetch(pixel + 2 * s.width * s.channels);
                store(to + x * L, f(load(pixel, n), b));
            }
            const int rest = band.columns - band.left - s.width;
            std::memset(to + s.width * L, 0, rest * L * sizeof(float));
        }
    }
}

// out[x] (+)= sum of w[ky, kx] * in[x * s + kx * d] over the k rows from `in`, `step` floats apart; x < columns.
template <int K, int S, int D, bool ADD>
static INLINE void depthwise_row(const float* in, size_t step, const float* w, float* out, int columns) {
    for (int x = 0; x < columns; x += PX, out += PX * L, in += PX * S * L) {
        vec sum[PX];
#pragma GCC unroll 16
        for (int p = 0; p < PX; p++) sum[p] = ADD ? load(out + p * L) : vec{};
        const float* tap = w;
        for (int ky = 0; ky < K; ky++) {
            const float* row = in + ky * D * step;
#pragma GCC unroll 8
            for (int kx = 0; kx < K; kx++, tap += L) {
                const vec weight = load(tap);
#pragma GCC unroll 16
                for (int p = 0; p < PX; p++) sum[p] += weight * load(row + (p * S + kx * D) * L);
            }
        }
#pragma GCC unroll 16
        for (int p = 0; p < PX; p++) store(out + p * L, sum[p]);
    }
}

// The pixels of a padded image that are real, from the first tap of the first output on.
struct Real {
    int top, bottom, left, right;
    bool row(int y) const { return y >= top && y < bottom; }
    bool column(int x) const { return x >= left && x < right; }
};

static INLINE bool finite(vec x) {
    const veci same = x - x == 0.f;
    int all = -1;
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) all &= same[i];
    return all;
}

// One tap's sum over real pixels only: with NaN or infinity about, what lies outside must not meet it, as in PyTorch.
static inline vec careful_tap(const float* in, size_t step, const float* t, size_t t_step, int rows, int columns,
                              const Real& real, int stride, int down, int across) {
    vec sum = {};
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++)
            if (real.row(y * stride + down) && real.column(x * stride + across))
                sum += load(t + y * t_step + x * L) * load(in + (y * stride + down) * step + (x * stride + across) * L);
    return sum;
}

// sums[ky, kx] += sum over y < rows, x < columns of t[y, x] * in[y * s + ky * d, x * s + kx * d]
template <int K, int S, int D>
static INLINE void depthwise_gradient(const float* in, size_t step, const float* t, size_t t_step, int rows,
                                      int columns, const Real& real, float* sums) {
    for (int ky = 0; ky < K; ky++, sums += K * L) {
        vec even[K], odd[K];
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) even[kx] = odd[kx] = vec{};
        for (int y = 0; y < rows; y++) {
            if (!real.row(y * S + ky * D)) continue;
            const float *row = in + (y * S + ky * D) * step, *from = t + y * t_step;
            int x = 0;
            for (; x + 1 < columns; x += 2, row += 2 * S * L, from += 2 * L) {
                const vec first = load(from), second = load(from + L);
#pragma GCC unroll 8
                for (int kx = 0; kx < K; kx++) {
                    even[kx] += first * load(row + kx * D * L);
                    odd[kx] += second * load(row + (S + kx * D) * L);
                }
            }
            if (x < columns) {
                const vec first = load(from);
#pragma GCC unroll 8
                for (int kx = 0; kx < K; kx++) even[kx] += first * load(row + kx * D * L);
            }
        }
#pragma GCC unroll 8
        for (int kx = 0; kx < K; kx++) {
            vec sum = even[kx] + odd[kx];
            if (!finite(sum)) sum = careful_tap(in, step, t, t_step, rows, columns, real, S, ky * D, kx * D);
            store(sums + kx * L, load(sums + kx * L) + sum);
        }
    }
}

// keep(p, block, vector) of PX pixels: sum over input channels of in[block][p][lane] * w[channel][out channels]
template <int NV, class F>
static INLINE void pointwise_tile(const float* in, size_t in_block, int channels, const float* w, int wide, F keep) {
    vec sum[PX][NV];
#pragma GCC unroll 16
    for (int p = 0; p < PX; p++)
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) sum[p][v] = vec{};
    for (int c0 = 0; c0 < channels; c0 += L, in += in_block) {
        const int lanes = std::min(L, channels - c0);
#pragma GCC unroll 4
        for (int i = 0; i < lanes; i++, w += wide) {
            vec weight[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; v++) weight[v] = load(w + v * L);
#pragma GCC unroll 16
            for (int p = 0; p < PX; p++) {
                const float a = in[p * L + i];
#pragma GCC unroll 2
                for (int v = 0; v < NV; v++) sum[p][v] += a * weight[v];
            }
        }
    }
#pragma GCC unroll 16
    for (int p = 0; p < PX; p++)
#pragma GCC unroll 2
        for (int v = 0; v < NV; v++) keep(p, v, sum[p][v]);
}

// Pointwise over the `columns` pixels of a row in scratch, which has room for a multiple of PX: keep(x, block, vector).
template <class F>
static INLINE void pointwise_row(const float* in, size_t in_block, int channels, const float* w, int columns, F keep) {
    const int count = blocks(channels), wide = count * L;
    for (int x = 0; x < columns; x += PX, in += PX * L) {
        const int pixels = std::min(PX, columns - x);
        auto tile = [&](auto vectors, int b) INLINE_LAMBDA {
            constexpr int NV = decltype(vectors)::value;
            auto all = [&](int p, int v, vec y) INLINE_LAMBDA { keep(x + p, b + v, y); };
            auto some = [&](int p, int v, vec y) INLINE_LAMBDA {
                if (p < pixels) keep(x + p, b + v, y);
            };
            if (pixels == PX)
                pointwise_tile<NV>(in, in_block, channels, w + b * L, wide, all);
            else
                pointwise_tile<NV>(in, in_block, channels, w + b * L, wide, some);
        };
        int b = 0;
        for (; b + 1 < count; b += 2) tile(std::integral_constant<int, 2>{}, b);
        if (b < count) tile(std::integral_constant<int, 1>{}, b);
    }
}

struct Rows {
    const float* at;
    size_t step;
};

// sums[o][i] += sum over pixels of a[pixel][o] * b[pixel][i]: L x L floats; rows of `columns` pixels
static INLINE void outer_products(Rows a, Rows b, int rows, int columns, float* sums, size_t wide) {
    vec sum[L];
#pragma GCC unroll 16
    for (int o = 0; o < L; o++) sum[o] = vec{};
    for (int y = 0; y < rows; y++) {
        const float *left = a.at + y * a.step, *right = b.at + y * b.step;
        for (int x = 0; x < columns; x++, left += L, right += L) {
            const vec v = load(right);
#pragma GCC unroll 16
            for (int o = 0; o < L; o++) sum[o] += left[o] * v;
        }
    }
#pragma GCC unroll 16
    for (int o = 0; o < L; o++) {
        float* to = sums + o * wide;
        store(to, load(to) + sum[o]);
    }
}

// f(K, S, D) as constants.
template <int S, class F>
static INLINE void with_sizes(int k, int d, F f) {
    auto dilated = [&](auto K) INLINE_LAMBDA {
        if (d == 1)
            f(K, std::integral_constant<int, S>{}, std::integral_constant<int, 1>{});
        else
            f(K, std::integral_constant<int, S>{}, std::integral_constant<int, 2>{});
    };
    if (k == 3)
        dilated(std::integral_constant<int, 3>{});
    else if (k == 5)
        dilated(std::integral_constant<int, 5>{});
    else
        dilated(std::integral_constant<int, 7>{});
}
