#include "doctor/measures.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "doctor/eigen.h"
#include "headscope/linear.h"
#include "headscope/threads.h"

namespace headscope::doctor {

namespace {

double mean(std::span<const float> row, std::size_t skip = 0) {
  if (row.size() <= skip) return 0.0;
  double sum = 0.0;
  for (std::size_t i = skip; i < row.size(); ++i) sum += static_cast<double>(row[i]);
  return sum / static_cast<double>(row.size() - skip);
}

// The numbers of one head in a statistic [1,S,T].
template <typename T>
std::span<const T> rows_of(const Tensor& statistic, std::int64_t slot, std::int64_t rows) {
  return statistic.span<T>().subspan(static_cast<std::size_t>(slot * rows),
                                     static_cast<std::size_t>(rows));
}

// Keys [begin, end) that row i may see by its place.
struct Seen {
  std::int64_t begin, end;
  [[nodiscard]] bool has(std::int64_t key) const { return key >= begin && key < end; }
  [[nodiscard]] double even() const {
    return 1.0 / static_cast<double>(std::max<std::int64_t>(1, end - begin));
  }
};
Seen seen(const FocusRecord& r, std::int64_t i) {
  const FocusOptions& o = r.options;
  const std::int64_t at = i + o.query_offset.value_or(o.causal ? r.keys - r.rows : 0);
  Seen out{0, r.keys};
  if (o.causal) out.end = std::min(r.keys, std::max(at + 1, o.prefix));
  if (o.window_left >= 0) out.begin = std::max<std::int64_t>(0, at - o.window_left);
  if (o.window_right >= 0) out.end = std::min(out.end, at + o.window_right + 1);
  return out;
}

void measure_distance(std::span<const float> means, std::span<const float> vars, Summary& summary) {
  double squares = 0.0;
  for (const float m : means) squares += static_cast<double>(m) * static_cast<double>(m);
  summary.distance_mean = mean(means);
  summary.distance_var_within = mean(vars);
  squares /= static_cast<double>(std::max<std::size_t>(means.size(), 1));
  summary.distance_var =
      summary.distance_var_within + squares - summary.distance_mean * summary.distance_mean;
}

void measure_causal_entropy(std::span<const float> entropy, Summary& summary) {
  if (entropy.size() < 2) return;
  double sum = 0.0;
  for (std::size_t i = 1; i < entropy.size(); ++i)
    sum += static_cast<double>(entropy[i]) / std::log(static_cast<double>(i + 1));
  summary.entropy_normalised = sum / static_cast<double>(entropy.size() - 1);
}

// Values of every group as a linear map: [G] matrices [C,Dv], row-major.
std::vector<std::vector<double>> value_maps(const AttentionWeights& w, std::int64_t C) {
  const std::int64_t columns = (w.heads + w.groups) * w.width + w.groups * w.value_width;
  Tensor x = Tensor::zeros(DType::kF32, {1, C + 1, C});  // unit vectors, then 0: what a bias adds
  for (std::int64_t c = 0; c < C; ++c) x.view<float, 3>()(0, c, c) = 1.0F;
  Tensor projected(DType::kF32, {1, C + 1, columns});
  project(w, std::as_const(x).view<float, 3>(), projected.view<float, 3>());
  const auto rows = projected.view<float, 3>();
  const std::int64_t first = (w.heads + w.groups) * w.width;
  std::vector<std::vector<double>> out;
  for (std::int64_t g = 0; g < w.groups; ++g) {
    std::vector<double> map;
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t d = 0; d < w.value_width; ++d) {
        const std::int64_t at = first + g * w.value_width + d;
        map.push_back(static_cast<double>(rows(0, c, at)) - static_cast<double>(rows(0, C, at)));
      }
    }
    out.push_back(std::move(map));
  }
  return out;
}

}  // namespace

double weight_of(const FocusRecord& record, int head, std::int64_t row, std::int64_t key) {
  float weight = 0.0F;
  record.row(0, head, row, key, {&weight, 1});
  return static_cast<double>(weight);
}

Summary summarise(const FocusRecord& record, int head) {
  const std::int64_t slot = record.slot(head);
  const std::int64_t rows = record.rows;
  const auto of = [&](const Tensor& statistic) { return rows_of<float>(statistic, slot, rows); };
  Summary s;
  s.entropy = mean(of(record.entropy));
  s.confidence = mean(of(record.max_weight));
  measure_distance(of(record.distance_mean), of(record.distance_var), s);
  s.first_mass = mean(of(record.first_mass), 1);
  s.previous_mass = mean(of(record.previous_mass), 1);
  s.self_mass = mean(of(record.self_mass));
  for (std::int64_t i = 0; i < rows; ++i) {
    if (i + 1 < rows && i + 1 < record.keys) s.next_mass += weight_of(record, head, i, i + 1);
    s.last_mass += weight_of(record, head, i, record.keys - 1);
  }
  if (rows > 1) s.next_mass /= static_cast<double>(rows - 1);
  s.last_mass /= static_cast<double>(std::max<std::int64_t>(rows, 1));
  if (record.options.causal) measure_causal_entropy(of(record.entropy), s);
  return s;
}

Tally duplicates(const FocusRecord& record, int head, std::span<const std::int32_t> ids) {
  std::map<std::int32_t, std::vector<std::int64_t>> places;
  for (std::size_t i = 0; i < ids.size(); ++i)
    places[ids[i]].push_back(static_cast<std::int64_t>(i));
  Tally out;
  for (const auto& [id, where] : places) {
    for (const std::int64_t i : where) {
      const Seen sees = seen(record, i);
      double mass = 0.0;
      std::int64_t n = 0;
      for (const std::int64_t j : where) {
        if (j == i || !sees.has(j)) continue;
        mass += weight_of(record, head, i, j);
        ++n;
      }
      if (n > 0) out.add(mass, static_cast<double>(n) * sees.even());
    }
  }
  return out;
}

Tally at_offset(const FocusRecord& record,
                int head,
                std::int64_t offset,
                std::int64_t first,
                std::int64_t end) {
  Tally out;
  for (std::int64_t i = first; i < std::min(end, record.rows); ++i) {
    const Seen sees = seen(record, i);
    if (sees.has(i + offset)) out.add(weight_of(record, head, i, i + offset), sees.even());
  }
  return out;
}

Offsets offsets(const FocusRecord& record, int head) {
  const std::int64_t T = record.rows;
  const auto argmax = rows_of<std::int32_t>(record.argmax, record.slot(head), T);
  const auto n = static_cast<std::size_t>(2 * T - 1);
  Offsets out{std::vector<std::int64_t>(n, 0), std::vector<std::int64_t>(n, 0)};
  for (std::int64_t i = 0; i < T; ++i) {
    const Seen sees = seen(record, i);
    for (std::int64_t j = sees.begin; j < sees.end && j < T; ++j)
      ++out.rows[static_cast<std::size_t>(j - i + T - 1)];
    const std::int64_t j = argmax[static_cast<std::size_t>(i)];
    if (j >= 0 && j < T) ++out.hits[static_cast<std::size_t>(j - i + T - 1)];
  }
  return out;
}

Tally largest_on(const FocusRecord& record, int head, std::span<const std::uint8_t> marked) {
  const auto argmax = rows_of<std::int32_t>(record.argmax, record.slot(head), record.rows);
  std::vector<std::int64_t> before(marked.size() + 1, 0);
  for (std::size_t j = 0; j < marked.size(); ++j)
    before[j + 1] = before[j] + (marked[j] != 0 ? 1 : 0);
  Tally out;
  for (std::int64_t i = 0; i < record.rows; ++i) {
    const Seen sees = seen(record, i);
    const std::int64_t there =
        before[static_cast<std::size_t>(sees.end)] - before[static_cast<std::size_t>(sees.begin)];
    const std::int32_t j = argmax[static_cast<std::size_t>(i)];
    if (there == 0 || j < 0) continue;
    out.add(marked[static_cast<std::size_t>(j)] != 0 ? 1.0 : 0.0,
            static_cast<double>(there) * sees.even());
  }
  return out;
}

std::vector<std::optional<double>> copying(const Model& model, int layer) {
  const AttentionWeights& w = model.attention(layer);
  std::vector<std::optional<double>> out(static_cast<std::size_t>(w.heads));
  if (w.latent != nullptr || w.clip > 0.0F || w.output == nullptr) return out;
  const std::int64_t C = w.output->out();
  if (w.qkv.empty() || w.qkv.front()->in() != C) return out;
  const auto values = value_maps(w, C);
  const Tensor writes = model.output_weight(layer);
  const auto o = writes.view<float, 2>();
  const auto D = static_cast<std::size_t>(w.value_width);
  parallel_for(w.heads, [&](std::int64_t h) {
    const std::vector<double>& v = values[static_cast<std::size_t>(h / (w.heads / w.groups))];
    std::vector<double> m(
        D * D, 0.0);  // W_O reads what W_V wrote: same eigenvalues as [C,C], but for zeros
    for (std::int64_t c = 0; c < C; ++c) {
      const double* row = v.data() + static_cast<std::size_t>(c) * D;
      for (std::size_t e = 0; e < D; ++e) {
        const auto to = static_cast<double>(o(c, h * w.value_width + static_cast<std::int64_t>(e)));
        for (std::size_t d = 0; d < D; ++d) m[e * D + d] += to * row[d];
      }
    }
    if (!std::all_of(m.begin(), m.end(), [](double x) { return std::isfinite(x); })) return;
    double sizes = 0.0, sum = 0.0;
    for (const auto& value : eigenvalues(m, D)) {
      sizes += std::abs(value);
      sum += value.real();
    }
    if (sizes > 0.0) out[static_cast<std::size_t>(h)] = sum / sizes;
  });
  return out;
}

}  // namespace headscope::doctor
