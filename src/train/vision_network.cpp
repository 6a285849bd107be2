// Pictures and videos become rows of patches, rows become classes or the patches that were hidden.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/model_files.h"
#include "models/vision.h"
#include "train/network.h"

namespace headscope::train {

using models::Blueprint;
using models::VisionBlueprint;
using From = models::VisionTop::From;

namespace {

void refuse(bool there, const char* what) {
  if (!there) return;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[train] expected a model of pictures without {}, which training has no "
                          "part for",
                          what));
}

void check(const VisionBlueprint& v) {
  for (const models::BlockFacts& block : v.blocks) {
    refuse(block.meeting != models::Meeting::kAll, "windows, or attention over time alone");
    refuse(block.width > 0 || !block.merging.empty(), "merged patches");
    refuse(!block.bias.empty(), "biases by distance");
    refuse(!block.attention_scale.empty() || !block.mlp_scale.empty(), "layer scales");
  }
  refuse(!v.shared_bias.empty(), "biases by distance");
  refuse(!v.time_positions.empty() || v.frames_apart, "frames apart");
  refuse(!v.body.embedding_norm.empty(), "a norm of embeddings");
  refuse(v.patches.pads, "padded pictures");
  refuse(v.top.classifiers.size() > 1, "two classifiers");
  for (const models::FrontFacts& front : v.in_front)
    refuse(front.count != 1 || !front.placed, "registers");
  refuse(!v.top.classifiers.empty() && v.top.classified != From::kFirst &&
             v.top.classified != From::kPatches,
         "a classifier of anything but the first row or the mean of patches");
}

class VisionNetwork final : public Network {
 public:
  VisionNetwork(Maker& maker, const json::Value& config, VisionBlueprint facts)
      : v_(std::move(facts)) {
    check(v_);
    const models::PatchFacts& p = v_.patches;
    const std::int64_t C = v_.body.width;
    grid_ = {p.frames > 0 ? p.frames / p.tubelet : 1,
             p.height / p.patch_height,
             p.width / p.patch_width};
    pixels_ = p.channels * p.tubelet * p.patch_height * p.patch_width;
    Shape shape{C, p.channels, p.patch_height, p.patch_width};
    if (p.frames > 0) shape.insert(shape.begin() + 2, p.tubelet);
    projection_.weight = maker.tensor(p.projection + ".weight", shape, Maker::Draw::kNormal, true);
    if (maker.biased(p.projection))
      projection_.bias = maker.tensor(p.projection + ".bias", {C}, Maker::Draw::kZero, false);
    for (const models::FrontFacts& front : v_.in_front)
      front_.push_back(maker.tensor(front.name, {1, 1, C}, Maker::Draw::kNormal, false));
    const std::int64_t T = static_cast<std::int64_t>(front_.size()) + grid_.count();
    if (v_.computed && !maker.dry()) computed_ = models::sinusoid_table(T, C);
    if (!v_.positions.empty()) {
      positions_ = maker.tensor(v_.positions, {1, T, C}, Maker::Draw::kNormal, false);
      if (maker.find(v_.positions) == nullptr && !maker.dry()) add_waves(positions_->value);
    }
    layers_.emplace(maker, v_.body);
    if (!v_.body.final_norm.empty()) final_norm_ = maker.norm(v_.body.final_norm, C, v_.body.norm);
    read_top(maker, config);
  }

  [[nodiscard]] const Blueprint& blueprint() const override { return v_.body; }
  [[nodiscard]] std::int64_t positions() const override { return length(); }
  [[nodiscard]] std::int64_t classes() const override { return classes_; }

  Loss loss(Tape& tape, const Batch& batch) override {
    check_pixels(batch);
    if (classes_ > 0) {
      const std::span<const std::int32_t> labels = labels_of(batch, S_, classes_, false);
      return tape.cross_entropy(of_pictures(tape, body(tape, batch)), top_, labels, 1.0F);
    }
    check_targets(batch);
    hidden_.clear();
    rows_.clear();
    const auto mask = batch.mask.span<std::uint8_t>();
    for (std::int64_t n = 0; n < S_ * grid_.count(); ++n) {
      if (mask[static_cast<std::size_t>(n)] == 0) continue;
      hidden_.push_back(static_cast<std::int32_t>(n));
      rows_.push_back(row_of(n));
    }
    const Var x = tape.pick(body(tape, batch), rows_);
    return tape.mean_squares(
        tape.linear(x, {&top_, 1}), batch.targets.span<float>().data(), hidden_);
  }

  Tensor logits(Tape& tape, const Batch& batch) override {
    check_pixels(batch);
    if (classes_ > 0) return mapped(tape, of_pictures(tape, body(tape, batch)), top_, 1.0F);
    rows_.clear();
    for (std::int64_t n = 0; n < S_ * grid_.count(); ++n) rows_.push_back(row_of(n));
    return mapped(tape, tape.pick(body(tape, batch), rows_), top_, 1.0F);
  }

 private:
  [[nodiscard]] std::int64_t length() const {
    return static_cast<std::int64_t>(front_.size()) + grid_.count();
  }
  [[nodiscard]] std::int32_t row_of(std::int64_t patch) const {
    const auto front = static_cast<std::int64_t>(front_.size());
    return static_cast<std::int32_t>(patch / grid_.count() * length() + front +
                                     patch % grid_.count());
  }

  // Drawn positions say nothing of who is whose neighbour, which a small model takes thousands of steps to find out. So
  // waves over rows and columns are added to what is drawn (Beyer 2022, Better plain ViT baselines).
  void add_waves(Tensor& table) const {
    constexpr double kLongest = 100.0;             // of the waves, over the shortest
    constexpr double kHeight = 0.5;                // about that of projected patches
    const std::int64_t waves = v_.body.width / 4;  // a sine and a cosine each, for rows and columns
    const auto to = table.view<float, 3>();
    for (std::int64_t n = 0; n < grid_.count(); ++n) {
      const std::int64_t in_frame = n % (grid_.rows * grid_.columns);
      const auto row = static_cast<double>(in_frame / grid_.columns);
      const auto column = static_cast<double>(in_frame % grid_.columns);
      for (std::int64_t w = 0; w < waves; ++w) {
        const double turn =
            std::pow(kLongest, -static_cast<double>(w) / static_cast<double>(waves));
        float* four = &to(0, static_cast<std::int64_t>(front_.size()) + n, 4 * w);
        four[0] += static_cast<float>(kHeight * std::sin(row * turn));
        four[1] += static_cast<float>(kHeight * std::cos(row * turn));
        four[2] += static_cast<float>(kHeight * std::sin(column * turn));
        four[3] += static_cast<float>(kHeight * std::cos(column * turn));
      }
    }
  }

  void read_top(Maker& maker, const json::Value& config) {
    const std::int64_t C = v_.body.width;
    if (v_.top.classifiers.empty()) {
      masked_ = maker.tensor("embeddings.mask_token", {1, 1, C}, Maker::Draw::kNormal, false);
      top_.weight = maker.tensor("decoder.weight", {pixels_, C}, Maker::Draw::kNormal, true, true);
      top_.bias = maker.tensor("decoder.bias", {pixels_}, Maker::Draw::kZero, false, true);
      return;
    }
    const std::string& name = v_.top.classifiers.front();
    const AnyView* found = maker.find(name + ".weight");
    classes_ = found != nullptr && found->shape.size() == 2 ? found->shape[0] : labels_word(config);
    if (!v_.top.classifier_norm.empty()) {
      models::NormFacts facts;
      facts.eps = v_.top.pooled_eps;
      norm_ = maker.norm(v_.top.classifier_norm, C, facts, true);
    }
    top_ = maker.top(name, C, classes_);
  }

  void check_pixels(const Batch& batch) {
    const models::PatchFacts& p = v_.patches;
    const Tensor& t = batch.pixels;
    Shape shape{t.empty() || t.shape().empty() ? 1 : t.dim(0), p.channels, p.height, p.width};
    if (p.frames > 0) shape.insert(shape.begin() + 1, p.frames);
    if (t.empty() || t.dtype() != DType::kF32 || t.shape() != shape || t.dim(0) < 1) {
      throw Error(t.empty() || t.dtype() == DType::kF32 ? ErrorCode::kShape : ErrorCode::kDType,
                  fmt::format("[train] expected pixels f32 {}, found {} {}",
                              to_string(shape),
                              t.empty() ? "none" : name(t.dtype()),
                              to_string(t.shape())));
    }
    S_ = t.dim(0);
    cu_seqlens_.resize(static_cast<std::size_t>(S_ + 1));
    for (std::size_t s = 0; s < cu_seqlens_.size(); ++s)
      cu_seqlens_[s] = static_cast<std::int32_t>(static_cast<std::int64_t>(s) * length());
    places_.resize(static_cast<std::size_t>(S_ * length()));
    for (std::size_t i = 0; i < places_.size(); ++i)
      places_[i] = static_cast<std::int64_t>(i) % length();
    sequences_.cu_seqlens = {cu_seqlens_.data(), {S_ + 1}};
    sequences_.positions = {places_.data(), {1, S_ * length()}};
    if (batch.mask.empty()) return;
    if (masked_ == nullptr)
      throw Error(ErrorCode::kUsage, "[train] expected no mask for a classifier, found one");
    if (batch.mask.dtype() != DType::kU8 || batch.mask.shape() != Shape{S_ * grid_.count()}) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[train] expected mask u8 [{}], found {} {}",
                              S_ * grid_.count(),
                              name(batch.mask.dtype()),
                              to_string(batch.mask.shape())));
    }
  }

  void check_targets(const Batch& batch) const {
    const Tensor& t = batch.targets;
    const Shape shape{S_ * grid_.count(), pixels_};
    if (batch.mask.empty())
      throw Error(ErrorCode::kShape, "[train] expected a mask of patches to foretell, found none");
    if (t.empty() || t.dtype() != DType::kF32 || t.shape() != shape) {
      throw Error(t.empty() || t.dtype() == DType::kF32 ? ErrorCode::kShape : ErrorCode::kDType,
                  fmt::format("[train] expected targets f32 {}, found {} {}",
                              to_string(shape),
                              t.empty() ? "none" : name(t.dtype()),
                              to_string(t.shape())));
    }
  }

  Var body(Tape& tape, const Batch& batch) {
    float* to = nullptr;
    const Var unfolded = tape.input(S_ * grid_.count(), pixels_, &to);
    models::unfold(v_.patches, batch.pixels, grid_, to);
    PatchesPart part;
    part.sequences = S_;
    part.patches = grid_.count();
    part.front = front_;
    part.positions = positions_;
    if (!computed_.empty()) part.computed = computed_.span<float>().data();
    part.masked = masked_;
    if (!batch.mask.empty()) part.mask = batch.mask.span<std::uint8_t>().data();
    Var x = tape.place(tape.linear(unfolded, {&projection_, 1}), part);
    tape.drop(x);
    x = layers_->run(tape, x, sequences_);
    return final_norm_ ? tape.norm(x, *final_norm_) : x;
  }

  // One row a picture.
  Var of_pictures(Tape& tape, Var x) {
    stretches_.clear();
    rows_.clear();
    const auto front = static_cast<std::int32_t>(front_.size());
    for (std::int64_t s = 0; s < S_; ++s) {
      const auto first = static_cast<std::int32_t>(s * length());
      rows_.push_back(first);
      stretches_.push_back({first + front, first + static_cast<std::int32_t>(length())});
    }
    x = v_.top.classified == From::kFirst ? tape.pick(x, rows_) : tape.mean(x, stretches_);
    return norm_ ? tape.norm(x, *norm_) : x;
  }

  VisionBlueprint v_;
  models::Grid grid_;
  std::int64_t pixels_ = 0;  // of a patch
  Map projection_;
  std::vector<Parameter*> front_;
  Parameter* positions_ = nullptr;
  Parameter* masked_ = nullptr;
  Tensor computed_;
  std::optional<Layers> layers_;
  std::optional<NormPart> final_norm_, norm_;
  Map top_;
  std::int64_t classes_ = 0;

  // Of the batch at hand.
  std::int64_t S_ = 0;
  Sequences sequences_;
  std::vector<std::int32_t> cu_seqlens_, rows_, hidden_;
  std::vector<std::int64_t> places_;
  std::vector<Tape::Stretch> stretches_;
};

}  // namespace

std::unique_ptr<Network> vision_network(const json::Value& config,
                                        const models::Weights* file,
                                        std::uint64_t seed,
                                        std::vector<Parameter>& parameters,
                                        bool dry) {
  const std::string architecture = models::architecture_of(config);
  auto facts = models::read_vision(config, architecture);
  if (!facts) return nullptr;
  const bool bare = facts->top.classifiers.empty() && architecture.ends_with("Model");
  Maker maker({.config = &config,
               .file = file,
               .seed = seed,
               .prefix = bare ? "" : facts->body.prefixes.front(),
               .layers = static_cast<std::int64_t>(facts->body.layers.size()),
               .renamed = facts->renamed,
               .dry = dry},
              parameters);
  return std::make_unique<VisionNetwork>(maker, config, std::move(*facts));
}

}  // namespace headscope::train
