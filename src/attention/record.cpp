#include "attention/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/focus_plan.h"
#include "headscope/threads.h"
#include "kernels/scalar.h"

namespace headscope {

namespace {

std::int64_t up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

Tensor copy_rows(const View<const float, 4>& from, std::span<const int> heads) {
  const std::int64_t T = from.shape[2];
  const std::int64_t D = from.shape[3];
  const std::int64_t S = heads.empty() ? from.shape[1] : static_cast<std::int64_t>(heads.size());
  Tensor to(DType::kF32, {from.shape[0], S, T, D});
  const auto rows = to.view<float, 4>();
  parallel_for(from.shape[0] * S, [&](std::int64_t n) {
    const std::int64_t b = n / S;
    const std::int64_t h = heads.empty() ? n % S : heads[static_cast<std::size_t>(n % S)];
    for (std::int64_t i = 0; i < T && D > 0; ++i) {
      std::memcpy(
          &rows(b, n % S, i, 0), &from(b, h, i, 0), static_cast<std::size_t>(D) * sizeof(float));
    }
  });
  return to;
}

// A contiguous copy of a view, kept alive beside the record.
template <typename T, int N>
View<const T, N> keep_copy(const View<const T, N>& from,
                           std::vector<std::shared_ptr<const Tensor>>& owned) {
  if (from.data == nullptr) return {};
  Tensor to(kDTypeOf<T>, Shape(from.shape.begin(), from.shape.end()));
  T* at = to.template span<T>().data();
  std::array<std::int64_t, N> i{};
  for (std::int64_t n = 0; n < from.size(); ++n) {
    std::int64_t offset = 0;
    for (std::size_t a = 0; a < N; ++a) offset += i[a] * from.stride[a];
    at[n] = from.data[offset];
    for (std::size_t a = N; a-- > 0 && ++i[a] == from.shape[a];) i[a] = 0;
  }
  owned.push_back(std::make_shared<const Tensor>(std::move(to)));
  return owned.back()->template view<T, N>();
}

}  // namespace

Sight Sight::everything() {
  Sight sight;
  sight.top_k = 8;
  sight.column_mass = true;
  sight.pooled_rows = 64;
  sight.pooled_columns = 64;
  sight.keep_qk = true;
  return sight;
}

Recorder::Recorder(const FocusInput& in, const Sight& sight, FocusRecord& record)
    : before_(record.owned), sight_(sight), record_(record) {
  const auto [B, H, Tq, D] = in.q.shape;
  const std::int64_t Tk = in.k.shape[2];
  record = FocusRecord();
  record.batch = B;
  record.query_heads = H;
  record.groups = in.k.shape[1];
  record.rows = Tq;
  record.keys = Tk;
  record.width = D;
  record.heads = sight.heads;
  for (int h = 0; record.heads.size() < static_cast<std::size_t>(H) && sight.heads.empty(); ++h)
    record.heads.push_back(h);
  const auto S = static_cast<std::int64_t>(record.heads.size());
  slot_of_.assign(static_cast<std::size_t>(H), -1);
  for (std::int64_t s = 0; s < S; ++s)
    slot_of_[static_cast<std::size_t>(record.heads[static_cast<std::size_t>(s)])] = s;

  record.lse = Tensor(DType::kF32, {B, S, Tq});
  if (sight.stats) {
    for (Tensor* t : {&record.entropy,
                      &record.max_weight,
                      &record.distance_mean,
                      &record.distance_var,
                      &record.first_mass,
                      &record.self_mass,
                      &record.previous_mass}) {
      *t = Tensor(DType::kF32, {B, S, Tq});  // every row of a chosen head is written
    }
    record.argmax = Tensor(DType::kI32, {B, S, Tq});
  }
  if (sight.top_k > 0) {
    record.top_keys = Tensor(DType::kI32, {B, S, Tq, sight.top_k});
    record.top_weights = Tensor(DType::kF32, {B, S, Tq, sight.top_k});
  }
  if (sight.column_mass) record.column_mass = Tensor::zeros(DType::kF32, {B, S, Tk});
  if (sight.pooled_rows > 0 && Tq > 0 && Tk > 0) {
    rows_per_cell_ = up(Tq, sight.pooled_rows);
    keys_per_cell_ = up(Tk, sight.pooled_columns);
    cell_rows_ = up(Tq, rows_per_cell_);
    cell_columns_ = up(Tk, keys_per_cell_);
    record.pooled_mean = Tensor::zeros(DType::kF32, {B, S, cell_rows_, cell_columns_});
    record.pooled_max = Tensor::zeros(DType::kF32, {B, S, cell_rows_, cell_columns_});
  }
  keep(in);
}

void Recorder::keep(const FocusInput& in) {
  record_.options = in.options;
  record_.options.scale =
      in.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(record_.width)));
  record_.options.key_mask = keep_copy(in.options.key_mask, record_.owned);
  record_.options.bias =
      sight_.keep_qk ? keep_copy(in.options.bias, record_.owned) : View<const float, 4>();
  record_.options.slopes = keep_copy(in.options.slopes, record_.owned);
  record_.options.sinks = keep_copy(in.options.sinks, record_.owned);
  if (!sight_.keep_qk) return;
  record_.q = copy_rows(in.q, sight_.heads);
  record_.k = copy_rows(in.k, {});
}

void Recorder::expect(std::size_t tasks) { partials_.assign(tasks, {}); }

void Recorder::attach(std::size_t n, std::int64_t b, std::int64_t h, kernels::FocusTask& task) {
  const std::int64_t s = slot_of_[static_cast<std::size_t>(h)];
  if (s < 0) return;
  Partial& partial = partials_[n];
  partial.b = b;
  partial.slot = s;
  partial.row_begin = task.row_begin;
  partial.row_end = task.row_end;
  kernels::RowRecord& r = task.record;
  const auto rows = [&](Tensor& t) { return t.empty() ? nullptr : t.view<float, 3>()[b][s].data; };
  r.entropy = rows(record_.entropy);
  r.max_weight = rows(record_.max_weight);
  r.argmax = record_.argmax.empty() ? nullptr : record_.argmax.view<std::int32_t, 3>()[b][s].data;
  r.distance_mean = rows(record_.distance_mean);
  r.distance_var = rows(record_.distance_var);
  r.first_mass = rows(record_.first_mass);
  r.self_mass = rows(record_.self_mass);
  r.previous_mass = rows(record_.previous_mass);
  if (!record_.top_keys.empty()) {
    r.top_k = sight_.top_k;
    r.top_keys = record_.top_keys.view<std::int32_t, 4>()[b][s].data;
    r.top_weights = record_.top_weights.view<float, 4>()[b][s].data;
  }
  if (!record_.column_mass.empty()) {
    partial.column_mass.assign(static_cast<std::size_t>(record_.keys), 0.0F);
    r.column_mass = partial.column_mass.data();
  }
  if (!record_.pooled_mean.empty()) {
    const std::int64_t lines =
        (task.row_end - 1) / rows_per_cell_ - task.row_begin / rows_per_cell_ + 1;
    partial.pooled_sum.assign(static_cast<std::size_t>(lines * cell_columns_), 0.0F);
    partial.pooled_max.assign(static_cast<std::size_t>(lines * cell_columns_), 0.0F);
    r.pooled_sum = partial.pooled_sum.data();
    r.pooled_max = partial.pooled_max.data();
    r.rows_per_cell = rows_per_cell_;
    r.keys_per_cell = keys_per_cell_;
    r.pooled_columns = cell_columns_;
  }
}

void Recorder::join_pooled(const Partial& partial) {
  const std::int64_t first = partial.row_begin / rows_per_cell_;
  const auto mean = record_.pooled_mean.view<float, 4>()[partial.b][partial.slot];
  const auto max = record_.pooled_max.view<float, 4>()[partial.b][partial.slot];
  const auto lines = static_cast<std::int64_t>(partial.pooled_sum.size()) / cell_columns_;
  for (std::int64_t line = 0; line < lines; ++line) {
    const std::int64_t r = first + line;
    const std::int64_t height = std::min(record_.rows - r * rows_per_cell_, rows_per_cell_);
    const float* sums = partial.pooled_sum.data() + line * cell_columns_;
    const float* most = partial.pooled_max.data() + line * cell_columns_;
    for (std::int64_t c = 0; c < cell_columns_; ++c) {
      const std::int64_t width = std::min(record_.keys - c * keys_per_cell_, keys_per_cell_);
      mean(r, c) += sums[c] / static_cast<float>(height * width);
      max(r, c) = std::max(max(r, c), most[c]);
    }
  }
}

void Recorder::join(View<const float, 3> lse) {
  for (const Partial& partial : partials_) {
    if (partial.slot < 0) continue;
    if (!partial.column_mass.empty()) {
      const auto mass = record_.column_mass.view<float, 3>()[partial.b][partial.slot];
      for (std::int64_t j = 0; j < record_.keys; ++j)
        mass(j) += partial.column_mass[static_cast<std::size_t>(j)];
    }
    if (!partial.pooled_sum.empty()) join_pooled(partial);
  }
  const auto to = record_.lse.view<float, 3>();
  for (std::int64_t b = 0; b < record_.batch; ++b) {
    for (std::size_t s = 0; s < record_.heads.size(); ++s) {
      for (std::int64_t i = 0; i < record_.rows; ++i) to(b, s, i) = lse(b, record_.heads[s], i);
    }
  }
}

std::int64_t FocusRecord::slot(int head) const {
  const auto found = std::find(heads.begin(), heads.end(), head);
  if (found == heads.end()) {
    throw Error(ErrorCode::kRange,
                fmt::format("[sight] expected one of the recorded heads {}, found {}",
                            fmt::join(heads, ","),
                            head));
  }
  return found - heads.begin();
}

void FocusRecord::row(std::int64_t b, int head, std::int64_t i, std::span<float> out) const {
  if (out.size() != static_cast<std::size_t>(keys)) {
    throw Error(ErrorCode::kShape,
                fmt::format("[sight] expected room for {} weights, found {}", keys, out.size()));
  }
  row(b, head, i, 0, out);
}

void FocusRecord::row(
    std::int64_t b, int head, std::int64_t i, std::int64_t first, std::span<float> out) const {
  const std::int64_t s = slot(head);
  if (q.empty() || k.empty()) {
    throw Error(ErrorCode::kUsage,
                "[sight] expected a record with keep_qk, found one without q and k");
  }
  const auto n = static_cast<std::int64_t>(out.size());
  if (b < 0 || b >= batch || i < 0 || i >= rows || first < 0 || n > keys - first) {
    throw Error(ErrorCode::kRange,
                fmt::format("[sight] expected batch 0..{}, row 0..{}, keys within {}, found batch "
                            "{}, row {}, keys {}..{}",
                            batch - 1,
                            rows - 1,
                            keys,
                            b,
                            i,
                            first,
                            first + n));
  }
  // q has S heads, k has G: ask for this head with its own group.
  const std::int64_t g = head / (query_heads / groups);
  FocusInput in;
  const auto queries = q.view<float, 4>();
  const auto all_keys = k.view<float, 4>();
  in.q = View<const float, 4>(queries[b][s].data, {batch, query_heads, rows, width});
  in.k = View<const float, 4>(all_keys[b][g].data, {batch, groups, keys, width});
  in.v = View<const float, 4>(nullptr, {batch, groups, keys, 0});
  in.options = options;
  kernels::FocusTask task = task_of(in, b, head);
  task.q = queries[b][s].data;
  task.k = all_keys[b][g].data;
  std::vector<double> scores(out.size());
  kernels::scalar::score_row(task, i, first, n, scores.data());
  const double lse_i = lse.view<float, 3>()(b, s, i);
  const bool blind = std::isinf(lse_i) && lse_i < 0.0;
  for (std::size_t m = 0; m < out.size(); ++m) {
    out[m] = blind ? 0.0F : static_cast<float>(std::exp(scores[m] - lse_i));
  }
}

}  // namespace headscope
