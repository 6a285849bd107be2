// Tokens become rows, rows become words or classes.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "models/model_files.h"
#include "train/network.h"

namespace headscope::train {

using models::Blueprint;
using models::HeadBlueprint;
using From = HeadBlueprint::From;

namespace {

// Which head config.json's class has: the rules of Transformer::read_top, without a file to look into.
const HeadBlueprint& head_of(const Blueprint& b, const std::string& architecture) {
  for (const HeadBlueprint& head : b.heads_on_top) {
    const bool unnamed = architecture.empty() && b.causal_head;
    if (unnamed || architecture.ends_with(head.architecture)) return head;
  }
  std::vector<std::string> known;
  for (const HeadBlueprint& head : b.heads_on_top) known.push_back(head.architecture);
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[config.json] expected an architecture that ends in one of {} to have a "
                          "loss, found {}",
                          fmt::join(known, ", "),
                          json::quote(architecture)));
}

class TextNetwork final : public Network {
 public:
  TextNetwork(Maker& maker, const json::Value& config, Blueprint blueprint, HeadBlueprint head)
      : b_(std::move(blueprint)), names_(std::move(head)) {
    if (b_.embedding_width > 0 || !b_.final_projection.empty() || b_.sinusoids ||
        b_.position_rule == models::PositionRule::kCountMask || b_.logit_softcap > 0.0F) {
      throw Error(ErrorCode::kUnsupported,
                  "[train] expected embeddings as wide as the model, learned or rotary positions "
                  "and logits as they are, found something that training has no part for");
    }
    words_ = maker.table(b_.word_embeddings, b_.vocabulary, b_.width);
    words_->tokens = true;
    if (b_.position_rows > 0)
      places_ = maker.table(b_.position_embeddings, b_.position_rows, b_.width);
    if (b_.types > 0) types_ = maker.table(b_.type_embeddings, b_.types, b_.width);
    if (!b_.embedding_norm.empty())
      embedding_norm_ = maker.norm(b_.embedding_norm, b_.width, b_.norm);
    layers_.emplace(maker, b_);
    if (!b_.final_norm.empty()) final_norm_ = maker.norm(b_.final_norm, b_.width, b_.norm);
    read_top(maker, config);
  }

  [[nodiscard]] const Blueprint& blueprint() const override { return b_; }
  // Learned positions may begin behind row 0.
  [[nodiscard]] std::int64_t positions() const override {
    if (b_.position_rows == 0) return b_.positions;
    return std::min(b_.positions, b_.position_rows - b_.first_position() - b_.position_offset);
  }
  [[nodiscard]] std::int64_t classes() const override { return every() ? 0 : out_size_; }

  Loss loss(Tape& tape, const Batch& batch) override {
    check(batch);
    const std::int64_t n = every() ? rows_ : sequences_.count();
    const std::span<const std::int32_t> labels = labels_of(batch, n, out_size_, every());
    picked_.clear();
    wanted_.clear();
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int32_t label = labels[static_cast<std::size_t>(i)];
      if (label == kIgnored) continue;
      picked_.push_back(static_cast<std::int32_t>(i));
      wanted_.push_back(label);
    }
    Var x = body(tape, batch);
    x = every() ? some(tape, x) : of_sequences(tape, x);
    Loss found = tape.cross_entropy(top(tape, x), out_, wanted_, b_.logit_scale);
    found.taught_nats = tape.taught();
    return found;
  }

  Tensor logits(Tape& tape, const Batch& batch) override {
    check(batch);
    Var x = body(tape, batch);
    if (!every()) x = of_sequences(tape, x);
    return mapped(tape, top(tape, x), out_, b_.logit_scale);
  }

 private:
  [[nodiscard]] bool every() const { return names_.from == From::kEveryToken; }

  void read_top(Maker& maker, const json::Value& config) {
    const std::int64_t C = b_.width;
    if (names_.from == From::kPooler) {
      pooler_ = maker.map(b_.pooler, C, C);
      pooler_->weight->inner = false;
    }
    std::int64_t width = C;
    if (!names_.dense.empty()) {
      width = names_.dense_width > 0 ? names_.dense_width : C;
      dense_ = maker.top(names_.dense, C, width);
    }
    if (!names_.norm.empty()) norm_ = maker.norm(names_.norm, width, b_.norm, true);
    const bool words = every() && !names_.architecture.ends_with("ForTokenClassification") &&
                       !names_.architecture.ends_with("ForQuestionAnswering");
    const AnyView* found = maker.find(names_.out + ".weight");
    out_size_ = words ? b_.vocabulary : labels_word(config);
    if (found != nullptr && found->shape.size() == 2) out_size_ = found->shape[0];
    const bool same = found != nullptr && words && names_.tied && width == C &&
                      found->shape == words_->value.shape() && equals_words(*found);
    if (names_.tied && (found == nullptr || same)) {
      out_.weight = words_;
    } else {
      out_.weight = maker.tensor(
          names_.out + ".weight", {out_size_, width}, Maker::Draw::kNormal, true, true);
      out_.weight->tokens = words;
    }
    const std::string bias = names_.out_bias.empty() ? names_.out + ".bias" : names_.out_bias;
    const bool biased =
        maker.find(bias) != nullptr ||
        (maker.find(b_.word_embeddings + ".weight") == nullptr && maker.biased(names_.out));
    if (!biased) return;
    out_.bias = maker.tensor(bias, {out_size_}, Maker::Draw::kZero, false, true);
    out_.bias->tokens = words;
  }

  [[nodiscard]] bool equals_words(const AnyView& found) const {
    const Tensor other = Tensor::f32_from(found);
    return std::memcmp(other.raw(), words_->value.raw(), other.bytes()) == 0;
  }

  void check(const Batch& batch);
  void check_looks(const Tensor& looks);
  Var body(Tape& tape, const Batch& batch);

  // The rows whose labels count.
  Var some(Tape& tape, Var x) {
    return static_cast<std::int64_t>(picked_.size()) == rows_ ? x : tape.pick(x, picked_);
  }

  // One row a sequence.
  Var of_sequences(Tape& tape, Var x) {
    picked_.clear();
    stretches_.clear();
    const auto& cu = sequences_.cu_seqlens;
    for (std::int64_t s = 0; s < sequences_.count(); ++s) {
      picked_.push_back(cu(s));
      stretches_.push_back({cu(s), cu(s + 1)});
    }
    if (names_.from == From::kMean) return tape.mean(x, stretches_);
    x = tape.pick(x, picked_);
    if (names_.from != From::kPooler) return x;
    return tape.activate(tape.linear(x, {&*pooler_, 1}), kernels::Activation::kTanh);
  }

  Var top(Tape& tape, Var x) {
    if (dense_) x = tape.activate(tape.linear(x, {&*dense_, 1}), names_.activation);
    return norm_ ? tape.norm(x, *norm_) : x;
  }

  Blueprint b_;
  HeadBlueprint names_;
  Parameter* words_ = nullptr;
  Parameter* places_ = nullptr;
  Parameter* types_ = nullptr;
  std::optional<NormPart> embedding_norm_, final_norm_, norm_;
  std::optional<Layers> layers_;
  std::optional<Map> pooler_, dense_;
  Map out_;
  std::int64_t out_size_ = 0;

  // Of the batch at hand.
  Sequences sequences_;
  std::int64_t rows_ = 0;
  std::vector<std::int64_t> positions_;
  std::vector<std::int32_t> place_rows_, type_rows_;
  std::vector<std::int32_t> picked_, wanted_;
  std::vector<Tape::Stretch> stretches_;
  std::vector<std::vector<Look>> looks_;  // of each layer; empty: none
};

std::span<const std::int32_t> numbers_of(const Tensor& t,
                                         const char* what,
                                         std::int64_t rows,
                                         std::int64_t below) {
  if (t.empty() || t.dtype() != DType::kI32 || t.shape().size() != 1 ||
      (rows >= 0 && t.dim(0) != rows)) {
    throw Error(t.empty() || t.dtype() == DType::kI32 ? ErrorCode::kShape : ErrorCode::kDType,
                fmt::format("[train] expected {} i32 [{}], found {} {}",
                            what,
                            rows < 0 ? "N" : std::to_string(rows),
                            t.empty() ? "none" : name(t.dtype()),
                            to_string(t.shape())));
  }
  for (const std::int32_t x : t.span<std::int32_t>()) {
    if (x < 0 || x >= below) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[train] expected {} 0..{}, found {}", what, below - 1, x));
    }
  }
  return t.span<std::int32_t>();
}

void TextNetwork::check(const Batch& batch) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const auto ids = numbers_of(batch.ids, "ids", -1, b_.vocabulary);
  const auto cu = numbers_of(batch.cu_seqlens, "cu_seqlens", -1, kMost);
  rows_ = static_cast<std::int64_t>(ids.size());
  if (cu.size() < 2 || cu.front() != 0 || cu.back() != rows_) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[train] expected cu_seqlens from 0 to {}, found {} numbers", rows_, cu.size()));
  }
  const std::int64_t first = b_.first_position();
  const std::int64_t most = positions();
  positions_.resize(ids.size());
  place_rows_.resize(ids.size());
  type_rows_.assign(ids.size(), 0);
  for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
    const std::int64_t length = std::int64_t{cu[s + 1]} - cu[s];
    if (length < 1 || length > most) {
      throw Error(
          ErrorCode::kRange,
          fmt::format("[train] expected sequences of 1..{} tokens, found one of {}", most, length));
    }
    for (std::int64_t i = 0; i < length; ++i) {
      const auto row = static_cast<std::size_t>(cu[s] + i);
      positions_[row] = first + i;
      place_rows_[row] = static_cast<std::int32_t>(first + i + b_.position_offset);
    }
  }
  if (!batch.type_ids.empty()) {
    const auto types =
        numbers_of(batch.type_ids, "type_ids", rows_, std::max<std::int64_t>(1, b_.types));
    std::copy(types.begin(), types.end(), type_rows_.begin());
  }
  sequences_.cu_seqlens = batch.cu_seqlens.view<std::int32_t, 1>();
  sequences_.positions = {positions_.data(), {1, rows_}};
  check_looks(batch.looks);
}

void TextNetwork::check_looks(const Tensor& looks) {
  looks_.clear();
  if (looks.empty()) return;
  if (looks.dtype() != DType::kI32 || looks.shape().size() != 2 || looks.dim(1) != 5) {
    throw Error(ErrorCode::kShape,
                fmt::format("[train] expected looks i32 [M,5], found {} {}",
                            name(looks.dtype()),
                            to_string(looks.shape())));
  }
  looks_.resize(layers_->count());
  const auto from = looks.view<std::int32_t, 2>();
  for (std::int64_t i = 0; i < from.shape[0]; ++i) {
    const std::int32_t layer = from(i, 0);
    const Look look{from(i, 1), from(i, 2), from(i, 3), from(i, 4)};
    const auto l = static_cast<std::size_t>(layer);
    Seen seen;
    if (layer >= 0 && l < looks_.size() && look.head >= 0 && look.head < layers_->attend(l).heads &&
        look.row >= 0 && look.row < rows_) {
      const FocusOptions& o = layers_->attend(l).options;
      if (o.softcap > 0.0F || o.slopes.data != nullptr) {
        throw Error(
            ErrorCode::kUnsupported,
            fmt::format("[train] expected plain scores where heads are taught, found capped or "
                        "biased ones in layer {}",
                        layer));
      }
      seen = seen_by(look.row, sequences_, o);
    }
    if (look.first < seen.first || look.last < look.first || look.last >= seen.last) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[train] expected looks at columns that a row of layers 0..{} sees, "
                              "found layer {}, head {}, row {}, columns {} to {}",
                              looks_.size() - 1,
                              layer,
                              look.head,
                              look.row,
                              look.first,
                              look.last));
    }
    looks_[l].push_back(look);
  }
}

Var TextNetwork::body(Tape& tape, const Batch& batch) {
  std::vector<Lookup> lookups{{words_, batch.ids.span<std::int32_t>().data(), b_.embedding_scale}};
  if (places_ != nullptr) lookups.push_back({places_, place_rows_.data(), 1.0F});
  if (types_ != nullptr) lookups.push_back({types_, type_rows_.data(), 1.0F});
  Var x = tape.embed(rows_, lookups);
  if (embedding_norm_) x = tape.norm(x, *embedding_norm_);
  tape.drop(x);
  x = layers_->run(tape, x, sequences_, looks_);
  return final_norm_ ? tape.norm(x, *final_norm_) : x;
}

}  // namespace

std::unique_ptr<Network> text_network(const json::Value& config,
                                      const models::Weights* file,
                                      std::uint64_t seed,
                                      Blueprint blueprint,
                                      std::vector<Parameter>& parameters,
                                      bool dry) {
  const HeadBlueprint head = head_of(blueprint, models::architecture_of(config));
  Maker maker({.config = &config,
               .file = file,
               .seed = seed,
               .prefix = blueprint.prefixes.empty() ? "" : blueprint.prefixes.front(),
               .layers = static_cast<std::int64_t>(blueprint.layers.size()),
               .matrices = blueprint.matrices,
               .dry = dry},
              parameters);
  return std::make_unique<TextNetwork>(maker, config, std::move(blueprint), head);
}

std::int64_t labels_word(const json::Value& config) {
  const auto named = static_cast<std::int64_t>(models::read_labels(config).size());
  const auto n =
      json::get_or<std::int64_t>(config, "num_labels", named > 0 ? named : 2, "config.json");
  if (n < 1 || n > (1 << 28))
    throw Error(ErrorCode::kFormat, fmt::format("[config.json] expected labels, found {}", n));
  return n;
}

std::span<const std::int32_t> labels_of(const Batch& batch,
                                        std::int64_t n,
                                        std::int64_t classes,
                                        bool ignored) {
  const Tensor& t = batch.labels;
  if (t.empty() || t.dtype() != DType::kI32 || t.shape() != Shape{n}) {
    throw Error(t.empty() || t.dtype() == DType::kI32 ? ErrorCode::kShape : ErrorCode::kDType,
                fmt::format("[train] expected labels i32 [{}], found {} {}",
                            n,
                            t.empty() ? "none" : name(t.dtype()),
                            to_string(t.shape())));
  }
  for (const std::int32_t label : t.span<std::int32_t>()) {
    if ((label < 0 || label >= classes) && !(ignored && label == kIgnored)) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[train] expected labels 0..{}{}, found {}",
                              classes - 1,
                              ignored ? " or -100" : "",
                              label));
    }
  }
  return t.span<std::int32_t>();
}

Tensor mapped(Tape& tape, Var x, const Map& out, float scale) {
  const Var y = tape.linear(x, {&out, 1});
  const View<const float, 2> rows = tape.value(y);
  Tensor t(DType::kF32, {rows.shape[0], rows.shape[1]});
  for (std::int64_t i = 0; i < t.size(); ++i)
    t.span<float>()[static_cast<std::size_t>(i)] = rows.data[i] * scale;
  return t;
}

}  // namespace headscope::train
