// Separable convolutions of many branches: relu, depthwise, pointwise, statistics, one pass over an image part.
//
//   z[i] = pointwise(depthwise(relu(v), dw[i]), pw[i])      v = x, or (z1[i] - mean[i]) * scale[i] + shift[i]
//   mean, var, rstd of z[i] over batch, height, width
//
// A piece of work is a few rows of one image for up to FOLD branches of one input, which share its padded relu. Sums
// for the statistics are shifted by the mean of the piece's first row; pieces are combined by Chan's formula in double.
// L lanes, C channels, N pixels of the batch
#include "separable/separable.hpp"

namespace {

constexpr int FOLD = 4;             // branches that share one padded input: more leave too few pieces for the threads
constexpr size_t PART = 32 * 1024;  // floats of a padded input at most, an eighth of the 1 MB cache next to a core

struct Inputs {
    const float* const* x;              // one, or one a branch
    const float *mean, *scale, *shift;  // [n, C] or null: relu of x as it is
};

struct Results {
    float *mean, *var, *rstd;
};

struct Plan {
    Shape s;
    int pad, bands, folds, fold;
    Band band_of(int index) const {
        const int top = part(index, bands, s.out_height()), end = part(index + 1, bands, s.out_height());
        const int wide = (up(s.out_width(), PX) - 1) * s.stride + 1 + 2 * pad;
        return {nullptr, top * s.stride - pad, (end - top - 1) * s.stride + 1 + 2 * pad, pad,
                std::max(wide, s.width + 2 * pad)};
    }
};

Plan plan_of(const Shape& s, const std::vector<Branch>& branches, bool shared) {
    int pad = 0;
    for (const Branch& b : branches) pad = std::max(pad, b.pad());
    const size_t line = size_t(s.width + 2 * pad) * s.stride * s.padded();
    const int most = std::max<int>(4, int(PART / line)), height = s.out_height();
    const int fold = shared ? FOLD : 1;
    return {s, pad, (height + most - 1) / most, (s.branches + fold - 1) / fold, fold};
}

// Sums of one branch over one piece: [shift, sum of (z - shift), sum of its squares], each of `padded` floats.
void add_row(float* sums, const float* z, const Shape& s, bool first) {
    const int C = s.channels, wide = s.padded(), columns = s.out_width();
    for (int c = 0; c < C; c += L) {
        const int n = C - c;
        vec one[4] = {}, two[4] = {};
        if (first) {
            for (int x = 0; x < columns; x++) one[0] += load(z + size_t(x) * C + c, n);
            store(sums + c, one[0] * (1.f / columns));
            one[0] = vec{};
        }
        const vec shift = load(sums + c);
        const float* at = z + c;
        int x = 0;
        for (; x + 4 <= columns; x += 4)
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++, at += C) {
                const vec d = load(at, n) - shift;
                one[i] += d;
                two[i] += d * d;
            }
        for (; x < columns; x++, at += C) {
            const vec d = load(at, n) - shift;
            one[0] += d;
            two[0] += d * d;
        }
        float *a = sums + wide + c, *b = sums + 2 * wide + c;
        store(a, load(a) + ((one[0] + one[1]) + (one[2] + one[3])));
        store(b, load(b) + ((two[0] + two[1]) + (two[2] + two[3])));
    }
}

template <int K, int S, int D>
void branch_rows(const Branch& branch, const Band& in, const Shape& s, int top, int end, float* row, float* z,
                 float* sums) {
    const int C = s.channels, count = blocks(C), columns = s.out_width(), wide = up(columns, PX);
    const size_t row_block = size_t(wide) * L;
    for (int y = top; y < end; y++) {
        for (int b = 0; b < count; b++) {
            const float* from = in.row(b, y * S - branch.pad()) - branch.pad() * L;
            const float* taps = branch.taps.data() + size_t(b) * K * K * L;
            depthwise_row<K, S, D, false>(from, in.line(), taps, row + b * row_block, wide);
        }
        float* to = z + size_t(y) * columns * C;
        fetch(to + columns * C, columns * C);  // the next row, while this one is worked on
        pointwise_row(row, row_block, C, branch.forward.data(), columns, [&](int x, int b, vec v) INLINE_LAMBDA {
            store(to + size_t(x) * C + b * L, v, C - b * L);
        });
        add_row(sums, to, s, y == top);
    }
}

void run_piece(const Plan& plan, const Inputs& in, const std::vector<Branch>& branches, int image, int index, int fold,
               float* z, float* sums) {
    const Shape& s = plan.s;
    const int count = blocks(s.channels), C = s.channels, first = fold * plan.fold;
    const int last = std::min(first + plan.fold, s.branches);
    if (std::none_of(&branches[first], &branches[first] + (last - first), [](const Branch& b) { return b.on; })) return;
    Band band = plan.band_of(index);
    const size_t row_floats = size_t(count) * up(s.out_width(), PX) * L;
    Scratch scratch(room(band.size(count)) + row_floats);
    band.at = scratch.take(band.size(count));
    float* row = scratch.take(row_floats);
    const float* x = (in.mean ? in.x[first] : in.x[0]) + image * s.image();
    if (in.mean) {
        const float *mean = in.mean + first * C, *scale = in.scale + first * C, *shift = in.shift + first * C;
        fill(band, x, s, [&](vec v, int b) INLINE_LAMBDA {
            const int c = b * L, n = C - c;
            return positive((v - load(mean + c, n)) * load(scale + c, n) + load(shift + c, n));
        });
    } else {
        fill(band, x, s, [](vec v, int) INLINE_LAMBDA { return positive(v); });
    }
    const int top = part(index, plan.bands, s.out_height()), end = part(index + 1, plan.bands, s.out_height());
    for (int i = first; i < last; i++) {
        if (!branches[i].on) continue;
        float* own = sums + size_t(i) * 3 * s.padded();
        std::memset(own, 0, 3 * s.padded() * sizeof(float));
        float* to = z + (size_t(i) * s.batch + image) * s.out_image();
        auto rows = [&](auto K, auto S, auto D) {
            branch_rows<K.value, S.value, D.value>(branches[i], band, s, top, end, row, to, own);
        };
        if (s.stride == 1)
            with_sizes<1>(branches[i].k, branches[i].dilation, rows);
        else
            with_sizes<2>(branches[i].k, branches[i].dilation, rows);
    }
}

// mean, var, rstd of branch i from the sums of all pieces [units][n][3][padded].
void finish(const Plan& plan, const float* sums, int i, double eps, const Results& out) {
    const Shape& s = plan.s;
    const size_t wide = s.padded(), unit = size_t(s.branches) * 3 * wide;
    for (int c = 0; c < s.channels; c++) {
        Moments all;
        for (int u = 0; u < s.batch * plan.bands; u++) {
            const int index = u % plan.bands;
            const int rows = part(index + 1, plan.bands, s.out_height()) - part(index, plan.bands, s.out_height());
            const float* own = sums + u * unit + size_t(i) * 3 * wide + c;
            all.add(double(rows) * s.out_width(), own[0], own[wide], own[2 * wide]);
        }
        const size_t at = size_t(i) * s.channels + c;
        all.write(eps, out.mean + at, out.var + at, out.rstd + at);
    }
}

}  // namespace

// shape: batch, C, height, width, stride, branches. x: one address, or one a branch where mean is not null.
extern "C" void separable_forward(
    int threads, const int* shape, const float* const* x, const float* mean, const float* scale, const float* shift,
    const float* const* dw, const int* k, const int* dilation, const float* const* pw, const float* gate, double eps,
    float* z, float* out_mean, float* var, float* rstd) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    std::vector<Branch> branches(s.branches);
    parallel(threads, s.branches, [&](int i) {
        branches[i].dw = dw[i], branches[i].pw = pw[i], branches[i].k = k[i], branches[i].dilation = dilation[i];
        branches[i].on = !gate || gate[i] != 0;
        if (branches[i].on) branches[i].pack(s.channels, false);
    });
    const Plan plan = plan_of(s, branches, mean == nullptr);
    const int units = s.batch * plan.bands;
    std::unique_ptr<float[]> sums(new float[size_t(units) * s.branches * 3 * s.padded()]);
    parallel(threads, units * plan.folds, [&](int piece) {
        const int unit = piece / plan.folds;
        float* own = sums.get() + size_t(unit) * s.branches * 3 * s.padded();
        run_piece(plan, {x, mean, scale, shift}, branches, unit / plan.bands, unit % plan.bands, piece % plan.folds, z,
                  own);
    });
    parallel(threads, s.branches, [&](int i) {
        if (branches[i].on) finish(plan, sums.get(), i, eps, {out_mean, var, rstd});
    });
}
