#include "train/tape.h"

#include <algorithm>

#include "headscope/threads.h"
#include "kernels/isa.h"

namespace headscope::train {

void by_rows(std::int64_t rows,
             std::int64_t width,
             const std::function<void(std::int64_t, std::int64_t)>& body) {
  const std::int64_t group = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(1, width));
  parallel_for((rows + group - 1) / group,
               [&](std::int64_t n) { body(n * group, std::min(rows, (n + 1) * group)); });
}

Tape::Tape() : bodies_(kernels::gradient_bodies(kernels::table().name)) {}

void Tape::begin(const StepOptions& options) {
  options_ = options;
  bodies_ = kernels::gradient_bodies(kernels::table().name);
  arena_.restart();
  values_.clear();
  steps_.clear();
  sites_ = 0;
  taught_ = 0.0;
}

void Tape::backward() {
  for (std::size_t n = steps_.size(); n-- > 0;) steps_[n].run(steps_[n].room);
}

View<const float, 2> Tape::value(Var v) const {
  const Value& x = at(v);
  return {x.value->data(), {x.rows, x.width}};
}

Var Tape::make(std::int64_t rows, std::int64_t width) {
  values_.push_back({rows, width, arena_.take(rows * width), nullptr, true});
  return static_cast<Var>(values_.size() - 1);
}

Var Tape::input(std::int64_t rows, std::int64_t width, float** to) {
  const Var v = make(rows, width);
  at(v).wanted = false;
  *to = numbers(v);
  return v;
}

float* Tape::gradient(Var v) {
  if (!has_gradient(v)) throw Error(ErrorCode::kInternal, "[tape] expected a gradient, found none");
  return at(v).gradient->data();
}

Tape::Sink Tape::sink(Var v) {
  Value& x = at(v);
  if (!x.wanted) return {};
  if (x.gradient != nullptr) return {own_gradient(v), true};
  x.gradient = arena_.take(x.rows * x.width);
  return {x.gradient->data(), false};
}

float* Tape::own_gradient(Var v) {
  Value& x = at(v);
  float* shared = gradient(v);
  if (x.gradient->holders == 1) return shared;
  Block* own = arena_.take(x.rows * x.width);
  float* to = own->data();
  by_rows(x.rows, x.width, [&, width = x.width](std::int64_t first, std::int64_t last) {
    std::copy(shared + first * width, shared + last * width, to + first * width);
  });
  Arena::drop(x.gradient);
  x.gradient = own;
  return to;
}

void Tape::give(Var v, Block* block) {
  Value& x = at(v);
  if (!x.wanted) return;
  if (x.gradient == nullptr) {
    Arena::share(block);
    x.gradient = block;
    return;
  }
  add_rows(block->data(), own_gradient(v), x.rows * x.width);
}

void Tape::release(Var v) {
  Value& x = at(v);
  Arena::drop(x.value);
  if (x.gradient != nullptr) Arena::drop(x.gradient);
  x.gradient = nullptr;
}

void Tape::add_rows(const float* from, float* to, std::int64_t n) const {
  by_rows(n, 1, [&](std::int64_t first, std::int64_t last) {
    bodies_.add(from + first, last - first, to + first);
  });
}

// Sums of columns, a stretch of columns a task, rows in order: the sums of 64 rows join those before them.
void Tape::columns(
    const float* dy, std::int64_t rows, std::int64_t width, std::int64_t step, float* to) {
  constexpr std::int64_t kWide = 256;
  constexpr std::int64_t kTall = 64;
  parallel_for((width + kWide - 1) / kWide, [&](std::int64_t n) {
    const std::int64_t first = n * kWide;
    const std::int64_t count = std::min(kWide, width - first);
    for (std::int64_t row = 0; row < rows; row += kTall) {
      float sums[kWide] = {};
      for (std::int64_t i = row; i < std::min(rows, row + kTall); ++i)
        bodies_.add(dy + i * step + first, count, sums);
      bodies_.add(sums, count, to + first);
    }
  });
}

Var Tape::add(Var x, Var more) {
  const std::int64_t rows = at(x).rows;
  const std::int64_t width = at(x).width;
  Block* block = at(more).value;
  Arena::share(block);
  values_.push_back({rows, width, block, nullptr, true});
  const auto y = static_cast<Var>(values_.size() - 1);
  add_rows(numbers(x), block->data(), rows * width);
  record([this, x, more, y] {
    (void)gradient(y);
    give(x, at(y).gradient);
    give(more, at(y).gradient);
    release(y);
  });
  return y;
}

void Tape::watch(Var v) {
  std::vector<Findings>* const kept = options_.findings;
  if (kept == nullptr) return;
  const Shape shape{at(v).rows, at(v).width};
  Findings& one = kept->emplace_back();
  one.value = Tensor(DType::kF32, shape);
  one.gradient = Tensor::zeros(DType::kF32, shape);
  std::copy_n(numbers(v), one.value.size(), one.value.span<float>().data());
  record([this, v, kept, n = kept->size() - 1] {
    Tensor& to = (*kept)[n].gradient;
    std::copy_n(gradient(v), to.size(), to.span<float>().data());
  });
}

std::span<std::int32_t> Tape::keep(std::span<const std::int32_t> numbers) {
  const auto n = static_cast<std::int64_t>(numbers.size());
  auto* to = reinterpret_cast<std::int32_t*>(arena_.take(n)->data());
  std::copy(numbers.begin(), numbers.end(), to);
  return {to, numbers.size()};
}

}  // namespace headscope::train
