// A node: terms normalised, weighed and added in one pass, and the sums of its backward in one read.
//
//   node = sum_t p[t] * ((z[t] - mean[t]) * scale[t] + shift[t])
//   sum_g = sum g      sum_gz[t] = sum g * (z[t] - mean[t])      per channel, over the N pixels
//
// A chunk of CHUNK pixels stays in the cache next to the core while the terms go by, FOLD at a time.
// L lanes, C channels, T terms
#include "host/host.hpp"

namespace {

constexpr int CHUNK = 64, FOLD = 4, PIECES = 32;

struct Node {
    int pixels, channels, terms;
    const float* const* z;
    const float *mean, *scale, *shift, *p, *gate;
    bool on(int t) const { return !gate || gate[t] != 0; }
    std::vector<int> running() const {
        std::vector<int> list;
        for (int t = 0; t < terms; t++)
            if (on(t)) list.push_back(t);
        return list;
    }
};

// out[c] of `pixels` pixels from `first`: (+)= F terms, n channels from c.
template <int F>
void add_terms(const Node& node, const int* terms, int c, int first, int pixels, float* out, bool fresh) {
    const int C = node.channels, n = C - c;
    const float* at[F];
    vec mean[F], factor[F], offset = {};
#pragma GCC unroll 4
    for (int f = 0; f < F; f++) {
        const int t = terms[f];
        const size_t row = size_t(t) * C + c;
        const vec p = splat(node.p[t]);
        at[f] = node.z[t] + size_t(first) * C + c;
        mean[f] = load(node.mean + row, n);
        factor[f] = p * load(node.scale + row, n);
        offset += p * load(node.shift + row, n);
    }
    out += size_t(first) * C + c;
#pragma GCC unroll 2
    for (int x = 0; x < pixels; x++) {
        const size_t step = size_t(x) * C;
        vec sum = fresh ? offset : load(out + step, n) + offset;
#pragma GCC unroll 4
        for (int f = 0; f < F; f++) sum += (load(at[f] + step, n) - mean[f]) * factor[f];
        store(out + step, sum, n);
    }
}

void mix_chunk(const Node& node, const std::vector<int>& terms, int first, int pixels, float* out) {
    for (int c = 0; c < node.channels; c += L) {
        const int count = int(terms.size());
        int t = 0;
        for (; t + FOLD <= count; t += FOLD) add_terms<FOLD>(node, &terms[t], c, first, pixels, out, t == 0);
        for (; t < count; t++) add_terms<1>(node, &terms[t], c, first, pixels, out, t == 0);
    }
}

// sums[0] += sum g, where wanted; sums[1 + t] += sum g * (z[t] - mean[t]); rows of `wide` floats
template <int F>
void add_products(const Node& node, const float* g, const int* terms, int c, int first, int pixels, float* sums,
                  int wide) {
    const int C = node.channels, n = C - c;
    const float* at[F];
    vec mean[F], even[F], odd[F];
    const size_t start = size_t(first) * C + c;
#pragma GCC unroll 4
    for (int f = 0; f < F; f++) {
        at[f] = node.z[terms[f]] + start;
        mean[f] = load(node.mean + size_t(terms[f]) * C + c, n);
        even[f] = odd[f] = vec{};
    }
    g += start;
    int x = 0;
    for (; x + 1 < pixels; x += 2) {
        const size_t here = size_t(x) * C, next = here + C;
        const vec g0 = load(g + here, n), g1 = load(g + next, n);
#pragma GCC unroll 4
        for (int f = 0; f < F; f++) {
            even[f] += g0 * (load(at[f] + here, n) - mean[f]);
            odd[f] += g1 * (load(at[f] + next, n) - mean[f]);
        }
    }
    if (x < pixels) {
        const vec g0 = load(g + size_t(x) * C, n);
#pragma GCC unroll 4
        for (int f = 0; f < F; f++) even[f] += g0 * (load(at[f] + size_t(x) * C, n) - mean[f]);
    }
#pragma GCC unroll 4
    for (int f = 0; f < F; f++) {
        float* to = sums + size_t(1 + terms[f]) * wide + c;
        store(to, load(to) + (even[f] + odd[f]));
    }
}

void add_gradient(const float* g, int C, int c, int first, int pixels, float* sums) {
    vec one = {}, two = {};
    g += size_t(first) * C + c;
    for (int x = 0; x < pixels; x++) (x & 1 ? one : two) += load(g + size_t(x) * C, C - c);
    store(sums + c, load(sums + c) + (one + two));
}

void reduce_chunk(const Node& node, const float* g, const std::vector<int>& terms, int first, int pixels, float* sums,
                  int wide) {
    for (int c = 0; c < node.channels; c += L) {
        add_gradient(g, node.channels, c, first, pixels, sums);
        const int count = int(terms.size());
        int t = 0;
        for (; t + FOLD <= count; t += FOLD) add_products<FOLD>(node, g, &terms[t], c, first, pixels, sums, wide);
        for (; t < count; t++) add_products<1>(node, g, &terms[t], c, first, pixels, sums, wide);
    }
}

// From the sums of all pieces: sum_gz, dp and the batch norms' backward as an affine of g and z.
void finish_term(const Node& node, const float* rstd, const float* sum_g, const float* sums, int pieces, int wide,
                 int t, float* dp, float* sum_gz, float* coef) {
    const int C = node.channels;
    const double p = node.p[t], N = node.pixels;
    double total = 0;
    for (int c = 0; c < C; c++) {
        const size_t at = size_t(t) * C + c;
        double sum = 0;
        for (int i = 0; i < pieces; i++) sum += sums[(size_t(i) * (node.terms + 1) + 1 + t) * wide + c];
        const double scale = node.scale[at], inverse = rstd[at], c0 = p * scale;
        sum_gz[at] = float(sum);
        total += scale * sum + double(node.shift[at]) * sum_g[c];
        const double c1 = -c0 * inverse * inverse * sum / N;
        float* to = coef + size_t(t) * 3 * C + c;
        to[0] = float(c0);
        to[C] = inverse == 0 ? 0.f : float(c1);  // where rstd is 0 the statistics are constants
        to[2 * C] = inverse == 0 ? 0.f : float(-c0 * sum_g[c] / N - c1 * node.mean[at]);
    }
    dp[t] = float(total);
}

}  // namespace

extern "C" void node_mix(
    int threads, const int* shape, const float* const* z, const float* mean, const float* scale, const float* shift,
    const float* p, const float* gate, float* out) {
    const Node node{shape[0], shape[1], shape[2], z, mean, scale, shift, p, gate};
    const std::vector<int> terms = node.running();
    if (terms.empty()) {
        std::fill_n(out, size_t(node.pixels) * node.channels, 0.f);
        return;
    }
    const int chunks = (node.pixels + CHUNK - 1) / CHUNK, pieces = std::min(chunks, PIECES);
    parallel(threads, pieces, [&](int i) {
        for (int chunk = part(i, pieces, chunks); chunk < part(i + 1, pieces, chunks); chunk++)
            mix_chunk(node, terms, chunk * CHUNK, std::min(CHUNK, node.pixels - chunk * CHUNK), out);
    });
}

// Partial channels: out[q k] is the mix of q, out[q k + j] the sum of beta[e] * bypass[e][j C / k + q].
// shape: pixels, channels of a term, terms, bypasses, k
extern "C" void node_mix_shuffled(
    int threads, const int* shape, const float* const* z, const float* mean, const float* scale, const float* shift,
    const float* p, const float* const* bypass, const float* beta, float* out) {
    const Node node{shape[0], shape[1], shape[2], z, mean, scale, shift, p, nullptr};
    const std::vector<int> terms = node.running();
    const int part_channels = shape[1], passes = shape[3], k = shape[4], whole = k * part_channels;
    const int chunks = (node.pixels + CHUNK - 1) / CHUNK;
    parallel(threads, chunks, [&](int chunk) {
        const int first = chunk * CHUNK, pixels = std::min(CHUNK, node.pixels - first);
        Scratch scratch(room(size_t(CHUNK) * part_channels) + room(whole));
        float *mixed = scratch.take(size_t(CHUNK) * part_channels), *line = scratch.take(whole);
        mix_chunk(node, terms, first, pixels, mixed - size_t(first) * part_channels);
        for (int x = 0; x < pixels; x++) {
            const size_t at = size_t(first + x) * whole;
            for (int c = part_channels; c < whole; c += L) {
                vec sum = {};
                for (int e = 0; e < passes; e++) sum += splat(beta[e]) * load(bypass[e] + at + c, whole - c);
                store(line + c, sum, whole - c);
            }
            std::copy_n(mixed + size_t(x) * part_channels, part_channels, line);
            for (int q = 0; q < part_channels; q++)
                for (int j = 0; j < k; j++) out[at + q * k + j] = line[j * part_channels + q];
        }
    });
}

// dp [T], sum_gz [T, C] and coef [T, 3, C] hold zeros where a term does not run: the caller has put them there.
extern "C" void node_mix_bwd_reduce(
    int threads, const int* shape, const float* g, const float* const* z, const float* mean, const float* scale,
    const float* shift, const float* rstd, const float* p, const float* gate, float* dp, float* sum_g, float* sum_gz,
    float* coef) {
    const Node node{shape[0], shape[1], shape[2], z, mean, scale, shift, p, gate};
    const std::vector<int> terms = node.running();
    const int chunks = (node.pixels + CHUNK - 1) / CHUNK, pieces = std::min(chunks, PIECES);
    const int C = node.channels, wide = blocks(C) * L;
    const size_t piece = size_t(node.terms + 1) * wide;
    std::unique_ptr<float[]> sums(new float[pieces * piece]);
    parallel(threads, pieces, [&](int i) {
        float* own = sums.get() + i * piece;
        std::fill_n(own, piece, 0.f);
        for (int chunk = part(i, pieces, chunks); chunk < part(i + 1, pieces, chunks); chunk++)
            reduce_chunk(node, g, terms, chunk * CHUNK, std::min(CHUNK, node.pixels - chunk * CHUNK), own, wide);
    });
    for (int c = 0; c < C; c++) {
        double sum = 0;
        for (int i = 0; i < pieces; i++) sum += sums[i * piece + c];
        sum_g[c] = float(sum);
    }
    parallel(threads, int(terms.size()), [&](int i) {
        finish_term(node, rstd, sum_g, sums.get(), pieces, wide, terms[i], dp, sum_gz, coef);
    });
}
