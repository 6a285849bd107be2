#include "doctor/heal.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "doctor/output_part.h"
#include "headscope/safetensors.h"
#include "headscope/train.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

Tensor numbers(std::span<const std::int32_t> from) {
  Tensor t(DType::kI32, {static_cast<std::int64_t>(from.size())});
  std::copy(from.begin(), from.end(), t.span<std::int32_t>().begin());
  return t;
}

// The next sequences of a text that goes round.
class Reader {
 public:
  Reader(std::span<const std::int32_t> ids, const HealOptions& o, std::int64_t positions)
      : ids_(ids),
        length_(std::min({o.length, positions, static_cast<std::int64_t>(ids.size())})),
        sequences_(std::max<std::int64_t>(1, o.tokens / length_)) {}

  train::Batch next() {
    std::vector<std::int32_t> ids, labels, cu{0};
    for (std::int64_t s = 0; s < sequences_; ++s) {
      if (at_ + static_cast<std::size_t>(length_) > ids_.size()) at_ = 0;
      const auto own = ids_.subspan(at_, static_cast<std::size_t>(length_));
      at_ += own.size();
      ids.insert(ids.end(), own.begin(), own.end());
      labels.insert(labels.end(), own.begin() + 1, own.end());
      labels.push_back(-100);
      cu.push_back(static_cast<std::int32_t>(ids.size()));
    }
    train::Batch out;
    out.ids = numbers(ids);
    out.labels = numbers(labels);
    out.cu_seqlens = numbers(cu);
    return out;
  }
  [[nodiscard]] std::int64_t labels() const { return sequences_ * (length_ - 1); }

 private:
  std::span<const std::int32_t> ids_;
  std::int64_t length_, sequences_;
  std::size_t at_ = 0;
};

// Places in the weights of `output` that belong to heads which are gone.
class Silence {
 public:
  Silence(const models::Blueprint& b, std::span<train::Parameter> parameters) {
    for (const models::LayerFacts& layer : b.layers) {
      train::Parameter* weight =
          parameter_of(parameters, b, layer.prefix + layer.attention.output + ".weight");
      if (weight == nullptr) continue;
      for (std::int64_t h = 0; h < layer.attention.heads; ++h)
        add(*weight,
            output_part(weight->value.shape(), b.matrices, h, layer.attention.value_width));
    }
  }
  void keep() const {
    for (float* x : places_) *x = 0.0F;
  }

 private:
  void add(train::Parameter& p, const OutputPart& part) {
    std::vector<float*> own;
    const auto w = p.value.view<float, 2>();
    part.each([&](std::int64_t i, std::int64_t j) { own.push_back(&w(i, j)); });
    if (std::all_of(own.begin(), own.end(), [](const float* x) { return *x == 0.0F; }))
      places_.insert(places_.end(), own.begin(), own.end());
  }
  std::vector<float*> places_;
};

DType dtype_of(const std::filesystem::path& folder) {
  const Safetensors file = Safetensors::open(folder);
  for (const auto& [name, view] : file.tensors()) {
    if (view.shape.size() == 2 && (view.dtype == DType::kF16 || view.dtype == DType::kBF16))
      return view.dtype;
  }
  return DType::kF32;
}

void check_foretells(const Model& model) {
  if (model.generates()) return;
  throw Error(ErrorCode::kUnsupported,
              "[heal] expected a model that foretells the next token, found " + model.family());
}

}  // namespace

void check_healable(const Model& model) {
  check_foretells(model);
  (void)train::Trainee::of(model);
}

void heal(const std::filesystem::path& folder,
          std::span<const std::int32_t> ids,
          const HealOptions& options) {
  if (ids.size() < 2) throw Error(ErrorCode::kInput, "[heal] expected at least two tokens");
  models::Blueprint b;
  {
    const Model model = Model::load(folder.string());
    check_foretells(model);
    b = model.network().blueprint();
  }
  train::Trainee trainee = train::Trainee::load(folder);
  train::AdamWOptions adam;
  adam.weight_decay = 0.0;
  train::AdamW optimizer(trainee.parameters(), adam);
  const Silence silence(b, trainee.parameters());
  Reader reader(ids, options, trainee.positions());
  const double rise = std::max(1.0, 0.1 * static_cast<double>(options.steps));
  for (std::int64_t step = 0; step < options.steps; ++step) {
    train::StepOptions how;
    how.scale = 1.0 / static_cast<double>(reader.labels());
    how.step = static_cast<std::uint64_t>(step);
    (void)trainee.step(reader.next(), how);
    const double at = static_cast<double>(step) / static_cast<double>(options.steps);
    const double rate = options.learning_rate *
                        std::min(1.0, (static_cast<double>(step) + 1.0) / rise) * 0.5 *
                        (1.0 + std::cos(std::numbers::pi * at));
    (void)optimizer.step(trainee.parameters(), rate);
    silence.keep();
    if (options.told) options.told(step + 1, options.steps);
  }
  trainee.save(folder, dtype_of(folder));
}

}  // namespace headscope::doctor
