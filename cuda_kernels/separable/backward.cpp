// The backward of forward.cpp: d input, weight gradients, and for a second convolution the sums and the
// coefficients of the batch norm before it.
//
//   dz[i] = coef[i, 0] * g[i] + coef[i, 1] * z[i] + coef[i, 2]       per channel, made when loaded, never kept whole
//   d[i] = depthwise^T(pointwise^T(dz[i]))      dx = where(v <= 0, 0, d) of their sum (+ add), or of each
//
// A piece of work is a few units, a unit a band of rows of one image with what of dz reaches it; weight gradients count
// the band's own rows. Pieces keep sums of their own, added in order at the end.
// L lanes, C channels, n branches, N pixels of the batch
#include "separable/separable.hpp"

namespace {

constexpr size_t PART = 24 * 1024;  // floats of a band of dx at most: with its four sisters half of a core's 1 MB cache
constexpr int PIECES = 32;          // sets of partial sums at most

struct Inputs {
    const float* const* x;                      // one, or one a branch where mean is not null
    const float *mean, *scale, *shift, *rstd;   // [n, C] or null
    const float *const *g, *z, *coef, *add;
    bool weights, shared;
};

struct Plan {
    Shape s;
    int pad, bands, pieces, slots;
    int units() const { return s.batch * bands; }
    int top(int band) const { return std::min(s.height, part(band, bands, s.out_height()) * s.stride); }
    int per_slot() const { return s.branches / slots; }
};

// The scratch of one unit. out: rows of dz and what comes from it; own: output rows that belong to the band alone.
struct Unit {
    int image, top, end;                    // rows of dx
    int out_top, out_end, own_top, own_end;  // rows of dz
    Band dx, t, x;
    float *dz, *middle;                     // [blocks][rows][columns up to PX][L]: dz; the depthwise output
    int columns;
    size_t line() const { return size_t(columns) * L; }
};

// Sums of one piece and branch.
struct Partial {
    float *dpw, *ddw, *d, *dz;  // [padded, padded], [blocks, k * k, L], [padded], [padded]
};

Unit unit_of(const Plan& plan, int index) {
    const Shape& s = plan.s;
    const int band = index % plan.bands, P = plan.pad, columns = up(s.out_width(), PX);
    Unit u{};
    u.image = index / plan.bands, u.top = plan.top(band), u.end = plan.top(band + 1);
    u.own_top = part(band, plan.bands, s.out_height()), u.own_end = part(band + 1, plan.bands, s.out_height());
    u.out_top = std::max(0, (u.top - P + s.stride - 1) / s.stride);
    u.out_end = std::min(s.out_height(), (u.end - 1 + P) / s.stride + 1);
    u.columns = columns;
    const int reach = (columns - 1) * s.stride + 1 + 2 * P;
    u.dx = {nullptr, u.top, u.end - u.top, P, std::max(reach, up(s.width, PX) + 2 * P)};
    u.t = {nullptr, u.top - P, u.end - u.top + 2 * P, P, up(s.width, PX) + 2 * P};  // stride 1
    if (s.stride == 2) u.t = {nullptr, u.out_top, u.out_end - u.out_top, 0, columns};
    const int rows = (u.own_end - u.own_top - 1) * s.stride + 1 + 2 * P;
    u.x = {nullptr, u.own_top * s.stride - P, rows, P, std::max(reach, s.width + 2 * P)};
    return u;
}

void place(Unit& u, int count, bool weights) {
    const size_t dz = (u.out_end - u.out_top) * u.line() * count, middle = (u.own_end - u.own_top) * u.line() * count;
    Scratch scratch(room(u.dx.size(count)) + room(u.t.size(count)) + room(dz) +
                    (weights ? room(u.x.size(count)) + room(middle) : 0));
    u.dx.at = scratch.take(u.dx.size(count));
    u.t.at = scratch.take(u.t.size(count));
    u.dz = scratch.take(dz);
    if (weights) u.x.at = scratch.take(u.x.size(count)), u.middle = scratch.take(middle);
}

// dz of branch i and its pointwise^T into u.t, for the rows that reach this band of dx.
void load_dz(const Plan& plan, const Inputs& in, const Branch& branch, int i, const Unit& u) {
    const Shape& s = plan.s;
    const int C = s.channels, count = blocks(C), columns = s.out_width();
    const float* coef = in.coef + size_t(i) * 3 * C;
    const size_t image = u.image * s.out_image(), block = (u.out_end - u.out_top) * u.line();
    const size_t ahead = 2 * size_t(columns) * C;  // rows that come from memory while this one is worked on
    const int top = std::max(u.out_top, (u.top - branch.pad()) / s.stride);
    const int end = std::min(u.out_end, (u.end - 1 + branch.pad()) / s.stride + 1);
    for (int y = top; y < end; y++) {
        const size_t at = image + size_t(y) * columns * C;
        float* line = u.dz + (y - u.out_top) * u.line();
        for (int b = 0; b < count; b++) {
            const int c = b * L, n = C - c;
            const vec one = load(coef + c, n), two = load(coef + C + c, n), three = load(coef + 2 * C + c, n);
            const float *g = in.g[i] + at + c, *z = in.z + size_t(i) * s.batch * s.out_image() + at + c;
            float* to = line + b * block;
            for (int x = 0; x < columns; x++) {
                const size_t step = size_t(x) * C;
                __builtin_prefetch(g + step + ahead), __builtin_prefetch(z + step + ahead);
                store(to + x * L, one * load(g + step, n) + (two * load(z + step, n) + three));
            }
            std::memset(to + columns * L, 0, (u.columns - columns) * L * sizeof(float));
        }
        float* t = u.t.row(0, y);  // by value: what is stored could be the unit itself, for all that the compiler knows
        const size_t t_block = u.t.block();
        pointwise_row(line, block, C, branch.backward.data(), columns, [=](int x, int b, vec v) INLINE_LAMBDA {
            store(t + b * t_block + x * L, v);
        });
    }
}

// dx += depthwise^T(t), stride 1: a depthwise convolution with the taps in reverse.
template <int K, int D>
void add_dx(const Plan& plan, const Branch& branch, const Unit& u) {
    const int columns = up(plan.s.width, PX), pad = branch.pad();
    for (int b = 0; b < blocks(plan.s.channels); b++)
        for (int y = u.top; y < u.end; y++)
            depthwise_row<K, 1, D, true>(u.t.row(b, y - pad) - pad * L, u.t.line(),
                                         &branch.flipped[size_t(b) * K * K * L], u.dx.row(b, y), columns);
}

// The same at stride 2: every row of t is spread over the rows of dx that it came from.
template <int K, int D>
void spread_dx(const Plan& plan, const Branch& branch, const Unit& u) {
    const int columns = plan.s.out_width(), pad = branch.pad();
    for (int b = 0; b < blocks(plan.s.channels); b++)
        for (int y = u.out_top; y < u.out_end; y++)
            for (int ky = 0; ky < K; ky++) {
                const int row = 2 * y + ky * D - pad;
                if (row < u.top || row >= u.end) continue;
                const float *from = u.t.row(b, y), *taps = &branch.taps[(size_t(b) * K + ky) * K * L];
                float* to = u.dx.row(b, row) - pad * L;
                for (int kx = 0; kx < K; kx++, to += D * L) {
                    const vec weight = load(taps + kx * L);
                    for (int x = 0; x < columns; x++)
                        store(to + 2 * x * L, load(to + 2 * x * L) + weight * load(from + x * L));
                }
            }
}

template <int K, int S, int D>
void add_weights(const Plan& plan, const Branch& branch, const Unit& u, const Partial& to) {
    const Shape& s = plan.s;
    const int C = s.channels, count = blocks(C), rows = u.own_end - u.own_top, columns = s.out_width();
    const int pad = branch.pad(), wide = s.padded();
    const int top = pad - u.own_top * S;
    const Real real{top, top + s.height, pad, pad + s.width};
    const size_t block = rows * u.line(), dz_block = (u.out_end - u.out_top) * u.line();
    for (int b = 0; b < count; b++) {
        const float* from = u.x.row(b, u.own_top * S - pad) - pad * L;
        for (int y = 0; y < rows; y++)
            depthwise_row<K, S, D, false>(from + y * S * u.x.line(), u.x.line(), &branch.taps[size_t(b) * K * K * L],
                                          u.middle + b * block + y * u.line(), u.columns);
        depthwise_gradient<K, S, D>(from, u.x.line(), u.t.row(b, u.own_top), u.t.line(), rows, columns, real,
                                    to.ddw + size_t(b) * K * K * L);
    }
    const float* dz = u.dz + (u.own_top - u.out_top) * u.line();
    for (int o = 0; o < count; o++)
        for (int i = 0; i < count; i++)
            outer_products({dz + o * dz_block, u.line()}, {u.middle + i * block, u.line()}, rows, columns,
                           to.dpw + size_t(o) * L * wide + i * L, wide);
}

// Writes dx where v > 0 or NaN, with `add`; for a second convolution also adds up d and d * (z1 - mean).
void write_dx(const Plan& plan, const Inputs& in, int i, const Unit& u, float* dx, const Partial& sums) {
    const Shape& s = plan.s;
    const int C = s.channels;
    for (int y = u.top; y < u.end; y++) {
        const size_t at = u.image * s.image() + size_t(y) * s.width * C;
        fetch(dx + at + s.width * C, s.width * C);
        for (int b = 0; b < blocks(C); b++) {
            const int c = b * L, n = C - c;
            const float *x = in.x[in.shared ? 0 : i] + at + c, *d = u.dx.row(b, y);
            float* to = dx + at + c;
            if (in.shared) {
                for (int p = 0; p < s.width; p++) {
                    const size_t step = size_t(p) * C;
                    const vec own = load(x + step, n) <= 0.f ? vec{} : load(d + p * L);
                    store(to + step, in.add ? own + load(in.add + at + c + step, n) : own, n);
                }
                continue;
            }
            const size_t small = size_t(i) * C + c;
            const vec mean = load(in.mean + small, n), scale = load(in.scale + small, n);
            const vec shift = load(in.shift + small, n);
            vec one = {}, two = {};
            for (int p = 0; p < s.width; p++) {
                const vec centred = load(x + size_t(p) * C, n) - mean;
                const vec own = centred * scale + shift <= 0.f ? vec{} : load(d + p * L);
                store(to + size_t(p) * C, own, n);
                one += own;
                two += own * centred;
            }
            store(sums.d + c, load(sums.d + c) + one);
            store(sums.dz + c, load(sums.dz + c) + two);
        }
    }
}

void run_unit(const Plan& plan, const Inputs& in, const std::vector<Branch>& branches, int index, int slot, float* dx,
              const std::vector<Partial>& partial) {
    const Shape& s = plan.s;
    const int count = blocks(s.channels), C = s.channels, first = slot * plan.per_slot();
    Unit u = unit_of(plan, index);
    place(u, count, in.weights);
    u.dx.clear(count);
    if (s.stride == 1) u.t.clear(count);
    const float* x = in.x[in.shared ? 0 : slot] + u.image * s.image();
    if (in.weights && in.shared) fill(u.x, x, s, [](vec v, int) INLINE_LAMBDA { return positive(v); });
    if (in.weights && !in.shared) {
        const float *mean = in.mean + slot * C, *scale = in.scale + slot * C, *shift = in.shift + slot * C;
        fill(u.x, x, s, [&](vec v, int b) INLINE_LAMBDA {
            const int c = b * L, n = C - c;
            return positive((v - load(mean + c, n)) * load(scale + c, n) + load(shift + c, n));
        });
    }
    for (int i = first; i < first + plan.per_slot(); i++) {
        const Branch& branch = branches[i];
        if (!branch.on) continue;
        load_dz(plan, in, branch, i, u);
        auto body = [&](auto K, auto S, auto D) {
            if constexpr (S.value == 1)
                add_dx<K.value, D.value>(plan, branch, u);
            else
                spread_dx<K.value, D.value>(plan, branch, u);
            if (in.weights) add_weights<K.value, S.value, D.value>(plan, branch, u, partial[i]);
        };
        if (s.stride == 1)
            with_sizes<1>(branch.k, branch.dilation, body);
        else
            with_sizes<2>(branch.k, branch.dilation, body);
    }
    write_dx(plan, in, slot, u, dx + (in.shared ? 0 : size_t(slot) * s.batch * s.image()), partial[first]);
}

struct Results {
    float *dx, *coef, *sum_d, *sum_dz;
    float *const *ddw, *const *dpw;
};

// The floats of one piece's sums, branch after branch.
std::vector<size_t> layout(const Shape& s, const std::vector<Branch>& branches, bool weights) {
    const size_t wide = s.padded();
    std::vector<size_t> starts{0};
    for (const Branch& b : branches)
        starts.push_back(starts.back() + 2 * wide + (weights ? wide * wide + wide * b.k * b.k : 0));
    return starts;
}

// Batch norm's backward as an affine of d and z1, from the sums of branch i.
void write_coefficients(const Plan& plan, const Inputs& in, int i, const Partial& sums, bool on, const Results& out) {
    const int C = plan.s.channels;
    const double N = double(plan.s.batch) * plan.s.height * plan.s.width;
    for (int c = 0; c < C; c++) {
        const size_t at = size_t(i) * C + c;
        float* coef = out.coef + size_t(i) * 3 * C + c;
        const double d = on ? sums.d[c] : 0, dz = on ? sums.dz[c] : 0;
        const double scale = on ? in.scale[at] : 0, rstd = on ? in.rstd[at] : 0, c1 = -scale * rstd * rstd * dz / N;
        out.sum_d[at] = float(d), out.sum_dz[at] = float(dz), coef[0] = float(scale);
        coef[C] = rstd == 0 ? 0.f : float(c1);  // where rstd is 0 the statistics are constants
        coef[2 * C] = rstd == 0 ? 0.f : float(-scale * d / N - c1 * in.mean[at]);
    }
}

// Adds the pieces' sums of branch i, in order, and writes what they are for.
void finish(const Plan& plan, const Inputs& in, const Branch& branch, int i, float* sums, size_t piece, size_t floats,
            const Partial& first, const Results& out) {
    const int C = plan.s.channels, wide = plan.s.padded(), kk = branch.k * branch.k;
    if (branch.on)
        for (int p = 1; p < plan.pieces; p++)
            for (size_t at = 0; at < floats; at += L)
                store(sums + at, load(sums + at) + load(sums + p * piece + at));
    if (!in.shared) write_coefficients(plan, in, i, first, branch.on, out);
    if (!in.weights) return;
    for (int o = 0; o < C; o++)
        for (int c = 0; c < C; c++) out.dpw[i][size_t(o) * C + c] = branch.on ? first.dpw[size_t(o) * wide + c] : 0.f;
    for (int c = 0; c < C; c++)
        for (int t = 0; t < kk; t++)
            out.ddw[i][c * kk + t] = branch.on ? first.ddw[(size_t(c / L) * kk + t) * L + c % L] : 0.f;
}

Plan plan_of(const Shape& s, const std::vector<Branch>& branches, bool shared) {
    int pad = 0;
    for (const Branch& b : branches) pad = std::max(pad, b.pad());
    const size_t line = size_t(s.width + 2 * pad) * s.stride * s.padded();
    const int most = std::max<int>(8, int(PART / line)), bands = (s.out_height() + most - 1) / most;
    return {s, pad, bands, std::min(s.batch * bands, PIECES), shared ? 1 : s.branches};
}

}  // namespace

// shape: batch, C, height, width, stride, branches. x: one address, or one a branch where mean is not null; then dx is
// [n, B, H, W, C] and coef, sum_d, sum_dz are written. ddw and dpw are null where weight gradients are not wanted.
extern "C" void separable_backward(
    int threads, const int* shape, const float* const* x, const float* mean, const float* scale, const float* shift,
    const float* rstd, const float* const* dw, const int* k, const int* dilation, const float* const* pw,
    const float* gate, const float* const* g, const float* z, const float* coef, const float* add, float* dx,
    float* out_coef, float* sum_d, float* sum_dz, float* const* ddw, float* const* dpw) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    const Inputs in{x, mean, scale, shift, rstd, g, z, coef, add, ddw != nullptr, mean == nullptr};
    std::vector<Branch> branches(s.branches);
    parallel(threads, s.branches, [&](int i) {
        branches[i].dw = dw[i], branches[i].pw = pw[i], branches[i].k = k[i], branches[i].dilation = dilation[i];
        branches[i].on = !gate || gate[i] != 0;
        if (branches[i].on) branches[i].pack(s.channels, true);
    });
    const Plan plan = plan_of(s, branches, in.shared);
    const std::vector<size_t> starts = layout(s, branches, in.weights);
    const size_t piece = starts.back(), wide = s.padded();
    std::unique_ptr<float[]> sums(new float[plan.pieces * piece]);
    auto partial = [&](int p, int i) {
        float *at = sums.get() + p * piece + starts[i], *rest = at + 2 * wide;
        return Partial{rest, rest + wide * wide, at, at + wide};
    };
    parallel(threads, plan.pieces * plan.slots, [&](int index) {
        const int p = index / plan.slots, slot = index % plan.slots, first = slot * plan.per_slot();
        if (!in.shared && !branches[slot].on) return;
        const size_t end = starts[first + plan.per_slot()];
        std::fill(sums.get() + p * piece + starts[first], sums.get() + p * piece + end, 0.f);
        std::vector<Partial> own(s.branches);
        for (int i = first; i < first + plan.per_slot(); i++) own[i] = partial(p, i);
        for (int u = part(p, plan.pieces, plan.units()); u < part(p + 1, plan.pieces, plan.units()); u++)
            run_unit(plan, in, branches, u, slot, dx, own);
    });
    parallel(threads, s.branches, [&](int i) {
        finish(plan, in, branches[i], i, sums.get() + starts[i], piece, starts[i + 1] - starts[i], partial(0, i),
               {dx, out_coef, sum_d, sum_dz, ddw, dpw});
    });
}
