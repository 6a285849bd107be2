#include "attention/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "attention/focus_plan.h"
#include "headscope/threads.h"
#include "kernels/scalar.h"

namespace headscope {

namespace {

std::int64_t up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void copy_row(const float* from, std::int64_t n, float* to) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}
void copy_row(const bf16* from, std::int64_t n, bf16* to) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(bf16));
}
void copy_row(const float* from, std::int64_t n, bf16* to) {
  for (std::int64_t d = 0; d < n; ++d) to[d] = to_bf16(from[d]);
}

// The chosen heads (all when empty) as contiguous numbers of type To.
template <typename To, typename T>
Tensor copy_rows(const View<const T, 4>& from, std::span<const int> heads) {
  const std::int64_t rows = from.shape[2];
  const std::int64_t D = from.shape[3];
  const std::int64_t S = heads.empty() ? from.shape[1] : static_cast<std::int64_t>(heads.size());
  Tensor to(kDTypeOf<To>, {from.shape[0], S, rows, D});
  const auto out = to.template view<To, 4>();
  parallel_for(from.shape[0] * S, [&](std::int64_t n) {
    const std::int64_t b = n / S;
    const std::int64_t h = heads.empty() ? n % S : heads[static_cast<std::size_t>(n % S)];
    for (std::int64_t i = 0; i < rows && D > 0; ++i)
      copy_row(&from(b, h, i, 0), D, &out(b, n % S, i, 0));
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

template <typename T>
Recorder::Recorder(const FocusInputOf<T>& in, const Sight& sight, FocusRecord& record)
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
  slot_of_.assign(static_cast<std::size_t>(H), -1);
  for (std::size_t s = 0; s < record.heads.size(); ++s)
    slot_of_[static_cast<std::size_t>(record.heads[s])] = static_cast<std::int64_t>(s);
  allocate();
  keep(in);
}
template Recorder::Recorder(const FocusInputOf<float>&, const Sight&, FocusRecord&);
template Recorder::Recorder(const FocusInputOf<bf16>&, const Sight&, FocusRecord&);

void Recorder::allocate() {
  const Sight& sight = sight_;
  FocusRecord& record = record_;
  const std::int64_t B = record.batch;
  const std::int64_t Tq = record.rows;
  const std::int64_t Tk = record.keys;
  const auto S = static_cast<std::int64_t>(record.heads.size());
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
}

template <typename T>
void Recorder::keep(const FocusInputOf<T>& in) {
  record_.options = in.options;
  record_.options.scale =
      in.options.scale.value_or(1.0F / std::sqrt(static_cast<float>(record_.width)));
  record_.options.key_mask = keep_copy(in.options.key_mask, record_.owned);
  record_.options.bias =
      sight_.keep_qk ? keep_copy(in.options.bias, record_.owned) : View<const float, 4>();
  record_.options.slopes = keep_copy(in.options.slopes, record_.owned);
  record_.options.sinks = keep_copy(in.options.sinks, record_.owned);
  record_.options.segments = keep_copy(in.options.segments, record_.owned);
  record_.options.cu_seqlens_q = keep_copy(in.options.cu_seqlens_q, record_.owned);
  record_.options.cu_seqlens_k = keep_copy(in.options.cu_seqlens_k, record_.owned);
  if (!sight_.keep_qk) return;
  if (sight_.keep_bf16) {
    record_.q = copy_rows<bf16>(in.q, sight_.heads);
    record_.k = copy_rows<bf16>(in.k, {});
  } else {
    record_.q = copy_rows<T>(in.q, sight_.heads);
    record_.k = copy_rows<T>(in.k, {});
  }
}

void Recorder::expect(std::vector<std::int64_t> groups, bool early) {
  early_ = early;
  partials_.resize(groups.size());
  const std::int64_t most = record_.batch * record_.groups;
  left_ = std::make_unique<std::atomic<std::int64_t>[]>(static_cast<std::size_t>(most));
  for (std::int64_t g : groups) ++left_[static_cast<std::size_t>(g)];
  groups_ = std::move(groups);
}

void Recorder::attach_rows(std::int64_t b,
                           std::int64_t h,
                           const kernels::FocusTask& task,
                           std::span<kernels::HeadTask> heads) {
  for (std::size_t n = 0; n < heads.size(); ++n) {
    const std::int64_t s = slot_of_[static_cast<std::size_t>(h) + n];
    if (s < 0) continue;
    kernels::RowRecord& r = heads[n].record;
    const auto rows = [&](Tensor& t) {
      return t.empty() ? nullptr : t.view<float, 3>()[b][s].data + task.row_base;
    };
    r.entropy = rows(record_.entropy);
    r.max_weight = rows(record_.max_weight);
    r.distance_mean = rows(record_.distance_mean);
    r.distance_var = rows(record_.distance_var);
    r.first_mass = rows(record_.first_mass);
    r.self_mass = rows(record_.self_mass);
    r.previous_mass = rows(record_.previous_mass);
    if (!record_.argmax.empty())
      r.argmax = record_.argmax.view<std::int32_t, 3>()[b][s].data + task.row_base;
    if (record_.top_keys.empty()) continue;
    r.top_k = sight_.top_k;
    r.top_keys = record_.top_keys.view<std::int32_t, 4>()[b][s].data + task.row_base * r.top_k;
    r.top_weights = record_.top_weights.view<float, 4>()[b][s].data + task.row_base * r.top_k;
  }
}

void Recorder::attach_sums(std::size_t n,
                           std::int64_t b,
                           std::int64_t h,
                           const kernels::FocusTask& task,
                           std::span<kernels::HeadTask> heads) {
  if (!wants_maps()) return;
  std::vector<Partial>& partials = partials_[n];
  partials.resize(heads.size());
  for (std::size_t m = 0; m < heads.size(); ++m) {
    Partial& partial = partials[m];
    partial.b = b;
    partial.slot = slot_of_[static_cast<std::size_t>(h) + m];
    if (partial.slot < 0) continue;
    kernels::RowRecord& r = heads[m].record;
    partial.key = task.key_base + task.key_begin;
    if (!record_.column_mass.empty()) {
      partial.column_mass.resize(static_cast<std::size_t>(task.key_end - task.key_begin));
      r.column_mass = partial.column_mass.data();
    }
    if (record_.pooled_mean.empty()) continue;
    partial.first_cell = (task.row_base + task.row_of(task.row_begin)) / rows_per_cell_;
    const std::int64_t last = (task.row_base + task.row_of(task.row_end - 1)) / rows_per_cell_;
    const std::int64_t cells = (last - partial.first_cell + 1) * cell_columns_;
    partial.pooled_sum.resize(static_cast<std::size_t>(cells));
    partial.pooled_max.resize(static_cast<std::size_t>(cells));
    r.pooled_sum = partial.pooled_sum.data();
    r.pooled_max = partial.pooled_max.data();
    r.rows_per_cell = rows_per_cell_;
    r.keys_per_cell = keys_per_cell_;
    r.pooled_columns = cell_columns_;
    r.first_cell = partial.first_cell;
  }
}

void Recorder::done(std::size_t n) {
  if (!early_ || !wants_maps()) return;
  const std::int64_t group = groups_[n];
  if (--left_[static_cast<std::size_t>(group)] > 0) return;
  const auto [first, last] = std::equal_range(groups_.begin(), groups_.end(), group);
  for (auto at = first; at != last; ++at)
    join_partials(partials_[static_cast<std::size_t>(at - groups_.begin())]);
}

void Recorder::join_partials(std::vector<Partial>& partials) {
  for (const Partial& partial : partials) {
    if (partial.slot < 0) continue;
    if (!partial.column_mass.empty()) {
      const auto mass = record_.column_mass.view<float, 3>()[partial.b][partial.slot];
      for (std::size_t j = 0; j < partial.column_mass.size(); ++j)
        mass(partial.key + static_cast<std::int64_t>(j)) += partial.column_mass[j];
    }
    if (!partial.pooled_sum.empty()) join_pooled(partial);
  }
  std::vector<Partial>().swap(partials);
}

void Recorder::join_pooled(const Partial& partial) {
  const auto mean = record_.pooled_mean.view<float, 4>()[partial.b][partial.slot];
  const auto max = record_.pooled_max.view<float, 4>()[partial.b][partial.slot];
  const auto lines = static_cast<std::int64_t>(partial.pooled_sum.size()) / cell_columns_;
  for (std::int64_t line = 0; line < lines; ++line) {
    const std::int64_t r = partial.first_cell + line;
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
  for (std::vector<Partial>& partials : partials_) join_partials(partials);
  const auto to = record_.lse.view<float, 3>();
  for (std::int64_t b = 0; b < record_.batch; ++b) {
    for (std::size_t s = 0; s < record_.heads.size(); ++s) {
      for (std::int64_t i = 0; i < record_.rows; ++i) to(b, s, i) = lse(b, record_.heads[s], i);
    }
  }
}

namespace {

// A task about one recorded head, whose queries lie in slot s and whose keys in group g.
template <typename T>
kernels::FocusTask kept_task(const FocusRecord& r,
                             const Sequence& sequence,
                             std::int64_t b,
                             std::int64_t s,
                             std::int64_t g,
                             int head,
                             kernels::HeadTask& one) {
  FocusInputOf<T> in;
  const auto queries = r.q.template view<T, 4>()[b][s];
  const auto keys = r.k.template view<T, 4>()[b][g];
  in.q = View<const T, 4>(queries.data, {r.batch, r.query_heads, r.rows, r.width});
  in.k = View<const T, 4>(keys.data, {r.batch, r.groups, r.keys, r.width});
  in.v = View<const T, 4>(nullptr, {r.batch, r.groups, r.keys, 0});
  in.options = r.options;
  kernels::FocusTask task = task_of(in, sequence, b, head, {&one, 1});
  one.q = queries.data + sequence.row * r.width;
  task.k = keys.data + sequence.key * r.width;
  return task;
}

// The sequence that row i is in.
Sequence sequence_at(const FocusRecord& r, std::int64_t i) {
  for (const Sequence& s : sequences_of(r.options, r.rows, r.keys)) {
    if (i >= s.row && i < s.row + s.rows) return s;
  }
  return {};
}

}  // namespace

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
  const std::int64_t g = head / (query_heads / groups);
  const Sequence sequence = sequence_at(*this, i);
  // Keys of other sequences weigh nothing.
  const std::int64_t begin = std::clamp(sequence.key, first, first + n);
  const std::int64_t end = std::clamp(sequence.key + sequence.keys, begin, first + n);
  std::fill(out.begin(), out.end(), 0.0F);
  if (begin == end) return;
  kernels::HeadTask one;
  const kernels::FocusTask task = q.dtype() == DType::kBF16
                                      ? kept_task<bf16>(*this, sequence, b, s, g, head, one)
                                      : kept_task<float>(*this, sequence, b, s, g, head, one);
  const double lse_i = lse.view<float, 3>()(b, s, i);
  if (std::isinf(lse_i) && lse_i < 0.0) return;
  constexpr std::int64_t kChunk = 8192;  // keys a thread takes at a time
  std::vector<double> sums(static_cast<std::size_t>(up(end - begin, kChunk)));
  parallel_for(up(end - begin, kChunk), [&](std::int64_t chunk) {
    const std::int64_t from = begin + chunk * kChunk;
    const std::int64_t to = std::min(from + kChunk, end);
    std::vector<double> scores(static_cast<std::size_t>(to - from));
    kernels::scalar::score_row(
        task, one, i - sequence.row, from - sequence.key, to - from, scores.data());
    for (std::int64_t j = from; j < to; ++j) {
      const double weight = std::exp(scores[static_cast<std::size_t>(j - from)] - lse_i);
      out[static_cast<std::size_t>(j - first)] = static_cast<float>(weight);
      sums[static_cast<std::size_t>(chunk)] += weight;
    }
  });
  // Of scores of a hundred lse, an f32, knows five digits behind the point; the weights of a whole row know better.
  if (options.sinks.data != nullptr || end - begin < sequence.keys) return;
  const double sum = std::accumulate(sums.begin(), sums.end(), 0.0);
  if (!(std::abs(sum - 1.0) < 1e-3)) return;
  for (float& weight : out) weight = static_cast<float>(static_cast<double>(weight) / sum);
}

}  // namespace headscope
