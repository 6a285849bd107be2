#include <algorithm>
#include <cmath>

#include "kernels/backward_task.h"

namespace headscope::kernels {

namespace {

// What a task sums up in double precision, all of its keys at once.
struct Sums {
  double* dk;     // [keys][width]
  double* dv;     // [keys][value_width]
  double* dq;     // [width]
  double* dbias;  // [keys], the sum over rows
};

bool visible(const BackwardTask& t, std::int64_t i, std::int64_t j) {
  const Span seen = keys_of_row(t, i);
  if (j < seen.begin || j >= seen.end) return false;
  if (t.row_segments != nullptr && t.row_segments[i] != t.key_segments[j]) return false;
  return t.key_mask == nullptr || t.key_mask[j] != 0;
}

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t d = 0; d < n; ++d) sum += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  return sum;
}

// One pair of a row and a key that it sees.
void backward_pair(const BackwardTask& t, std::int64_t i, std::int64_t j, const Sums& sums) {
  const float* q = t.q + i * t.q_stride;
  const float* k = t.k + j * t.k_stride;
  const float* dout = t.dout + i * t.dout_stride;
  double s = static_cast<double>(t.scale) * dot(q, k, t.width);
  double slope_of_cap = 1.0;
  if (t.softcap > 0.0F) {
    const double bent = std::tanh(s / static_cast<double>(t.softcap));
    s = static_cast<double>(t.softcap) * bent;
    slope_of_cap = 1.0 - bent * bent;
  }
  s -= static_cast<double>(t.slope) * static_cast<double>(std::abs(i + t.offset - j));
  if (t.bias != nullptr) s += static_cast<double>(t.bias[i * t.bias_row_stride + j]);
  const double w = std::exp(s - static_cast<double>(t.lse[i]));
  const double dw = dot(dout, t.v + j * t.v_stride, t.value_width);
  const double ds = w * (dw - static_cast<double>(t.delta[i]));
  if (t.dbias != nullptr && t.dbias_row_stride == 0) sums.dbias[j] += ds;
  if (t.dbias != nullptr && t.dbias_row_stride != 0)
    t.dbias[i * t.dbias_row_stride + j] += static_cast<float>(ds);
  const double dx = ds * slope_of_cap;
  for (std::int64_t d = 0; d < t.width; ++d) {
    sums.dq[d] += dx * static_cast<double>(k[d]);
    sums.dk[j * t.width + d] += dx * static_cast<double>(t.scale) * static_cast<double>(q[d]);
  }
  for (std::int64_t c = 0; c < t.value_width; ++c)
    sums.dv[j * t.value_width + c] += w * static_cast<double>(dout[c]);
}

void put(const double* from, std::int64_t n, bool add, float* to) {
  for (std::int64_t d = 0; d < n; ++d) to[d] = static_cast<float>(add ? to[d] + from[d] : from[d]);
}

std::size_t scratch_floats(const BackwardTask& t) {
  return 2 * static_cast<std::size_t>((t.width + t.value_width + 1) * t.keys + t.width);
}

void backward(const BackwardTask& t) noexcept {
  Sums sums{};
  sums.dk = reinterpret_cast<double*>(t.scratch);
  sums.dv = sums.dk + t.keys * t.width;
  sums.dq = sums.dv + t.keys * t.value_width;
  sums.dbias = sums.dq + t.width;
  std::fill(sums.dk, sums.dbias + t.keys, 0.0);
  for (std::int64_t i = 0; i < t.rows; ++i) {
    std::fill(sums.dq, sums.dq + t.width, 0.0);
    for (std::int64_t j = t.key_begin; j < t.key_end; ++j) {
      if (visible(t, i, j)) backward_pair(t, i, j, sums);
    }
    put(sums.dq, t.width, false, t.dq + i * padded(t.width));
  }
  for (std::int64_t j = t.key_begin; j < t.key_end; ++j) {
    put(sums.dk + j * t.width, t.width, t.add, t.dk + j * t.dk_stride);
    put(sums.dv + j * t.value_width, t.value_width, t.add, t.dv + j * t.dv_stride);
    if (t.dbias != nullptr && t.dbias_row_stride == 0)
      t.dbias[j] = static_cast<float>(t.dbias[j] + sums.dbias[j]);
  }
}

}  // namespace

const BackwardTable& scalar_backward() {
  static constexpr BackwardTable kTable{"scalar", backward, scratch_floats, false};
  return kTable;
}

namespace {
const HighwayBackward& compiled() {
  // Asking for the tables first keeps the two walks over Highway's targets one after the other.
  static const HighwayBackward all = tables().empty() ? HighwayBackward{} : highway_backward();
  return all;
}
}  // namespace

const BackwardTable& backward_table(const Table& table) {
  const std::vector<const BackwardTable*>& all = compiled().f32;
  if (table.name == scalar_backward().name || all.empty()) return scalar_backward();
  const BackwardTable* best = nullptr;
  for (const BackwardTable* t : all) {
    if (!table.name.starts_with(t->name)) continue;
    if (best == nullptr || t->name.size() > best->name.size()) best = t;
  }
  return best == nullptr ? *all.back() : *best;
}

const BackwardTable* bf16_backward_table(const Table& table) {
  for (const BackwardTable* t : compiled().bf16) {
    if (t->name == table.name) return t;
  }
  return nullptr;
}

}  // namespace headscope::kernels
