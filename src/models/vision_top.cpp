// What stands on top of a vision model, and what its rows are called.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/biases.h"
#include "models/pointwise.h"
#include "models/vision.h"

namespace headscope::models {

namespace {
using From = VisionTop::From;
}  // namespace

void Vision::read_top() {
  const VisionTop& top = facts_.top;
  const std::int64_t C = blueprint().width;
  for (const std::string* name : {&top.pooled_norm, &top.pooled_dense, &top.classifier_norm}) {
    if (!name->empty() && weights_.find(*name + ".weight") != nullptr) expect_bias(weights_, *name);
  }
  for (const std::string& name : top.classifiers) expect_bias(weights_, name);
  if (!top.pooled_norm.empty())
    pooled_norm_ = weights_.norm(top.pooled_norm, C, {.eps = top.pooled_eps});
  if (!top.pooled_dense.empty() && weights_.find(top.pooled_dense + ".weight") != nullptr) {
    const Shape& shape = weights_.at(top.pooled_dense + ".weight").shape;
    pooled_dense_.emplace(weights_.linear(top.pooled_dense, C, shape.empty() ? C : shape[0]));
  }
  if (top.pooled == From::kProbe) read_probe();
  if (!top.projection.empty() && weights_.find(top.projection + ".weight") != nullptr)
    projection_.emplace(weights_.linear(top.projection, C, top.projection_width));
  if (!top.classifier_norm.empty())
    classifier_norm_ = weights_.norm(top.classifier_norm, C, {.eps = top.pooled_eps});
  for (const std::string& name : top.classifiers) {
    const Shape& shape = weights_.at(name + ".weight").shape;
    const std::int64_t in = top.classified == From::kFirstAndPatches ? 2 * C : C;
    classifiers_.push_back(weights_.linear(name, in, shape.empty() ? 1 : shape[0]));
  }
}

void Vision::read_probe() {
  const VisionTop& top = facts_.top;
  const std::int64_t C = blueprint().width;
  const std::string& prefix = top.probe;
  for (const char* name : {"attention.out_proj", "layernorm", "mlp.fc1", "mlp.fc2"})
    expect_bias(weights_, prefix + name);
  Probe probe;
  probe.facts.heads = probe.facts.groups = top.probe_heads;
  probe.facts.width = probe.facts.value_width = C / top.probe_heads;
  probe.facts.causal = false;
  probe.facts.output = "attention.out_proj";
  // One tensor holds the maps of queries, keys and values.
  const AnyView& weight = weights_.at(prefix + "attention.in_proj_weight", {3 * C, C});
  const AnyView& bias = weights_.at(prefix + "attention.in_proj_bias", {3 * C});
  for (std::int64_t part = 0; part < 3; ++part) {
    const AnyView w{weight.dtype, {C, C}, weight.data + bytes_of(weight.dtype, part * C * C)};
    const AnyView b{bias.dtype, {C}, bias.data + bytes_of(bias.dtype, part * C)};
    probe.attention.qkv.push_back(std::make_shared<const Linear>(w, b));
  }
  probe.attention.output =
      std::make_shared<const Linear>(weights_.linear(prefix + probe.facts.output, C, C));
  probe.attention.heads = probe.attention.groups = top.probe_heads;
  probe.attention.width = probe.attention.value_width = probe.facts.width;
  probe.row = weights_.numbers(prefix + "probe", std::array{C});
  probe.norm = weights_.norm(prefix + "layernorm", C, blueprint().norm);
  MlpFacts mlp;
  mlp.activation = top.pooled_activation;
  mlp.up = "mlp.fc1";
  mlp.down = "mlp.fc2";
  probe.mlp.emplace(weights_, mlp, prefix, C, top.probe_mlp_width);
  probe_.emplace(std::move(probe));
  seen_.push_back({blocks_.size(), false});
}

Tensor Vision::taken(From from, const Run& run) const {
  const auto x = std::as_const(run.last_hidden_state).view<float, 3>();
  const auto [B, T, C] = x.shape;
  if (from == From::kPooled) return run.pooler_output.clone();
  const bool both = from == From::kFirstAndPatches;
  const std::int64_t front = in_front();
  Tensor out = Tensor::zeros(DType::kF32, {B, both ? 2 * C : C});
  for (std::int64_t b = 0; b < B; ++b) {
    float* to = out.span<float>().data() + b * out.dim(1);
    if (both || from == From::kFirst) {
      std::copy_n(&x(b, 0, 0), C, to);
      if (!both) continue;
      to += C;
    }
    for (std::int64_t c = 0; c < C; ++c) {
      double sum = 0.0;
      for (std::int64_t i = front; i < T; ++i) sum += static_cast<double>(x(b, i, c));
      to[c] = static_cast<float>(sum / static_cast<double>(T - front));
    }
  }
  return out;
}

Tensor Vision::run_probe(Run& run, const RunOptions& options) const {
  const auto memory = std::as_const(run.last_hidden_state).view<float, 3>();
  const std::int64_t B = memory.shape[0];
  const std::int64_t C = memory.shape[2];
  Tensor rows(DType::kF32, {B, 1, C});
  for (std::int64_t b = 0; b < B; ++b)
    std::copy_n(probe_->row.span<float>().begin(), C, rows.span<float>().begin() + b * C);
  AttentionCall call;
  call.memory = memory;
  Watch watch(options, run, layers());
  watch.over(layers() - 1, call);
  Tensor found(DType::kF32, {B, 1, C});
  headscope::attention(
      probe_->attention, std::as_const(rows).view<float, 3>(), found.view<float, 3>(), call);
  normalise(probe_->norm, rows_of(std::as_const(found)), rows_of(rows));
  Tensor out(DType::kF32, {B, C});
  (*probe_->mlp)(rows_of(std::as_const(rows)), rows_of(out));
  add(rows_of(std::as_const(found)), rows_of(out));
  return out;
}

void Vision::classify(Run& run) const {
  const VisionTop& top = facts_.top;
  std::vector<Tensor> outputs;
  for (std::size_t n = 0; n < classifiers_.size(); ++n) {
    Tensor rows;
    if (classifiers_.size() == 1) {
      rows = taken(top.classified, run);
    } else {  // each its own row in front
      const auto x = std::as_const(run.last_hidden_state).view<float, 3>();
      rows = Tensor(DType::kF32, {x.shape[0], x.shape[2]});
      for (std::int64_t b = 0; b < x.shape[0]; ++b) {
        std::copy_n(&x(b, static_cast<std::int64_t>(n), 0),
                    x.shape[2],
                    rows.span<float>().begin() + b * x.shape[2]);
      }
    }
    if (!top.classifier_norm.empty()) normalise(classifier_norm_, rows_of(rows));
    outputs.emplace_back(DType::kF32, Shape{rows.dim(0), classifiers_[n].out()});
    classifiers_[n](rows_of(std::as_const(rows)), rows_of(outputs.back()));
  }
  if (outputs.empty()) return;
  run.logits = outputs.front().clone();
  if (outputs.size() == 1) return;
  for (std::size_t i = 0; i < run.logits.span<float>().size(); ++i) {
    float sum = 0.0F;
    for (const Tensor& output : outputs) sum += output.span<float>()[i];
    run.logits.span<float>()[i] = sum / static_cast<float>(outputs.size());
  }
  for (std::size_t n = 0; n < outputs.size(); ++n)
    run.more.emplace(top.classifier_outputs[n], std::move(outputs[n]));
}

void Vision::run_top(Run& run, const RunOptions& options) const {
  const VisionTop& top = facts_.top;
  // The probe is an attention that may be looked at, so it runs even if nobody asks for what it gives.
  if (probe_) run.pooler_output = run_probe(run, options);
  if (!options.outputs) {
    run.pooler_output = Tensor();
    return;
  }
  const bool dense_missing = top.dense_must && !pooled_dense_;
  if (!probe_ && top.pooled != From::kNone && !dense_missing) {
    run.pooler_output = taken(top.pooled, run);
    if (!top.pooled_norm.empty()) normalise(pooled_norm_, rows_of(run.pooler_output));
    if (pooled_dense_) {
      Tensor dense(DType::kF32, {run.pooler_output.dim(0), pooled_dense_->out()});
      (*pooled_dense_)(rows_of(std::as_const(run.pooler_output)), rows_of(dense));
      activate(top.pooled_activation, rows_of(dense));
      run.pooler_output = std::move(dense);
    }
  }
  if (projection_) {
    Tensor image(DType::kF32, {run.pooler_output.dim(0), projection_->out()});
    (*projection_)(rows_of(std::as_const(run.pooler_output)), rows_of(image));
    run.more.emplace("image_embeds", std::move(image));
  }
  classify(run);
}

std::string Vision::attention_name(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  if (seen.block == blocks_.size()) return "pooling";
  const BlockFacts& facts = facts_.blocks[seen.block];
  return seen.second ? facts.second_attention_name : facts.attention_name;
}

std::string Vision::layer_name(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  if (seen.block == blocks_.size()) return "pooling";
  const BlockFacts& facts = facts_.blocks[seen.block];
  const std::string& name = seen.second ? facts.second_name : facts.name;
  return name.empty() ? std::to_string(layer) : name;
}

std::vector<Label> Vision::labels(const Tokens& tokens, std::size_t layer, std::int64_t b) const {
  const Seen& seen = seen_.at(layer);
  Grid grid = read_grid(tokens);
  const bool probe = seen.block == blocks_.size();
  grid = grid_at(seen.block, grid);
  const bool apart = !probe && (seen.second ? facts_.blocks[seen.block].second
                                            : facts_.blocks[seen.block].meeting) != Meeting::kAll;
  const Places rows = apart ? places(seen.block, seen.second, grid)
                            : places_of(Meeting::kAll, grid, in_front(), 0, 0);
  std::vector<std::string> front;
  for (const FrontFacts& facts : facts_.in_front) {
    for (std::int64_t i = 0; i < facts.count; ++i)
      front.push_back(fmt::format(fmt::runtime(facts.label), i));
  }
  const bool patch_by_patch = !facts_.time_positions.empty();
  const std::int64_t space = grid.rows * grid.columns;
  const std::int64_t first = b % rows.sequences * rows.length;
  const std::int64_t frames = facts_.frames_apart ? tokens.pixels.dim(1) : 1;
  std::vector<Label> out;
  for (std::int64_t i = 0; i < rows.length; ++i) {
    const std::int64_t row = rows.row[static_cast<std::size_t>(first + i)];
    Label label;
    if (row < 0) {
      label = {"filling", 0, 0, -1, true};
    } else if (row < in_front()) {
      label = {front[static_cast<std::size_t>(row)], 0, 0, -1, true};
    } else {
      const std::int64_t n = row - in_front();
      const std::int64_t patch = patch_by_patch ? n / grid.frames : n % space;
      std::int64_t frame = patch_by_patch ? n % grid.frames : n / space;
      if (facts_.frames_apart) frame = b % frames;
      label.frame = static_cast<int>(frame);
      label.row = static_cast<int>(patch / grid.columns);
      label.column = static_cast<int>(patch % grid.columns);
      label.text = fmt::format("patch {},{}", label.row, label.column);
      if (facts_.patches.frames > 0) label.text = fmt::format("frame {} {}", frame, label.text);
      label.word = n;
    }
    out.push_back(std::move(label));
  }
  return out;
}

}  // namespace headscope::models
