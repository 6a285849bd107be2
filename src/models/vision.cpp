#include "models/vision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "models/biases.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

using From = VisionTop::From;

// Old names become those that the facts use.
Tensors renamed(Tensors tensors, const std::vector<std::pair<std::string, std::string>>& rules) {
  std::map<std::string, AnyView, std::less<>> by_name;
  for (const auto& [name, view] : tensors.by_name) {
    std::string now = name;
    for (const auto& [old, other] : rules) {
      if (name.ends_with(old)) now = name.substr(0, name.size() - old.size()) + other;
    }
    by_name.emplace(now, view);
  }
  tensors.by_name = std::move(by_name);
  if (rules.empty()) return tensors;
  tensors.own_name = [rules](std::string_view name) -> std::string {
    for (const auto& [old, other] : rules) {
      if (name.ends_with(other))
        return std::string(name.substr(0, name.size() - other.size())) + old;
    }
    return "";
  };
  return tensors;
}

Tensor rows_as(Tensor x, Shape shape) {
  Tensor out(DType::kF32, std::move(shape));
  std::copy_n(x.span<float>().begin(), x.size(), out.span<float>().begin());
  return out;
}

void scale_columns(const Tensor& factors, View<float, 2> rows) {
  if (factors.empty()) return;
  const float* by = factors.span<float>().data();
  for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
    float* row = rows.data + i * rows.stride[0];
    for (std::int64_t c = 0; c < rows.shape[1]; ++c) row[c] *= by[c];
  }
}

// Four neighbours side by side: [B,rows*columns,C] -> [B,rows'*columns',4C], zeros beyond the edge.
Tensor four_in_one(const Tensor& x, const Grid& grid) {
  const std::int64_t B = x.dim(0);
  const std::int64_t C = x.dim(2);
  const std::int64_t rows = (grid.rows + 1) / 2;
  const std::int64_t columns = (grid.columns + 1) / 2;
  Tensor out = Tensor::zeros(DType::kF32, {B, rows * columns, 4 * C});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t n = 0; n < rows * columns * 4; ++n) {
      const std::int64_t y = n / 4 / columns * 2 + n % 2;
      const std::int64_t x_at = n / 4 % columns * 2 + n % 4 / 2;
      if (y >= grid.rows || x_at >= grid.columns) continue;
      std::copy_n(&x.view<float, 3>()(b, y * grid.columns + x_at, 0),
                  C,
                  &out.view<float, 3>()(b, n / 4, n % 4 * C));
    }
  }
  return out;
}

}  // namespace

Vision::Vision(VisionBlueprint facts, Tensors tensors)
    : facts_(std::move(facts)),
      weights_(renamed(std::move(tensors), facts_.renamed),
               facts_.body.prefixes,
               Linear::Layout::kOutIn) {
  const Blueprint& b = facts_.body;
  const std::int64_t C = facts_.blocks.front().width > 0 ? facts_.blocks.front().width : b.width;
  if (!b.family.starts_with("clip")) expect_bias(weights_, facts_.patches.projection);
  patches_.emplace(weights_, facts_.patches, C);
  std::int64_t placed = 0;
  for (const FrontFacts& front : facts_.in_front) {
    front_.push_back(weights_.numbers(front.name, std::array{front.count * C}));
    placed += front.placed ? front.count : 0;
  }
  const Grid trained = patches_->trained();
  const std::int64_t here = trained.rows * trained.columns;
  if (facts_.computed)
    positions_ = sinusoid_table(placed + trained.count(), C);
  else if (!facts_.positions.empty())
    positions_ = weights_.numbers(facts_.positions, std::array{(placed + here) * C});
  if (!facts_.time_positions.empty())
    time_positions_ = weights_.numbers(facts_.time_positions, std::array{trained.frames * C});
  if (!facts_.shared_bias.empty()) {
    const std::int64_t far = (2 * trained.rows - 1) * (2 * trained.columns - 1) + 3;
    shared_bias_ = Tensor::f32_from(weights_.at(facts_.shared_bias, {far, b.heads()}));
  }
  if (!b.embedding_norm.empty())
    embedding_norm_ = weights_.norm(b.embedding_norm, C, {.eps = facts_.embedding_eps});
  expect_biases(weights_, b);
  for (std::size_t n = 0; n < b.layers.size(); ++n) read_block(n);
  if (!b.final_norm.empty()) final_norm_ = weights_.norm(b.final_norm, b.width, b.norm);
  read_top();
}

void Vision::read_block(std::size_t n) {
  const LayerFacts& facts = facts_.body.layers[n];
  const BlockFacts& extra = facts_.blocks[n];
  Blueprint here;  // what a layer needs of it
  here.width = extra.width > 0 ? extra.width : facts_.body.width;
  here.norm = facts_.body.norm;
  const std::int64_t C = here.width;
  Block block{read_layer(weights_, here, facts), {}, {}, {}, {}, {}, {}};
  if (!extra.bias.empty()) {
    const Grid trained = patches_->trained();
    const std::int64_t far = extra.meeting == Meeting::kWindows
                                 ? (2 * extra.side - 1) * (2 * extra.side - 1)
                                 : (2 * trained.rows - 1) * (2 * trained.columns - 1) + 3;
    const AnyView& table = weights_.at(facts.prefix + extra.bias, {far, facts.attention.heads});
    block.bias = Tensor::f32_from(table);
    if (extra.meeting == Meeting::kWindows) block.bias = window_bias(block.bias, extra.side);
  }
  if (!extra.attention_scale.empty())
    block.attention_scale = weights_.numbers(facts.prefix + extra.attention_scale, std::array{C});
  if (!extra.mlp_scale.empty())
    block.mlp_scale = weights_.numbers(facts.prefix + extra.mlp_scale, std::array{C});
  if (!extra.dense.empty()) {
    expect_bias(weights_, facts.prefix + extra.dense);
    block.dense.emplace(weights_.linear(facts.prefix + extra.dense, C, C));
  }
  if (!extra.merging.empty()) {
    expect_bias(weights_, extra.merging + ".norm");
    block.merging = weights_.norm(extra.merging + ".norm", 4 * C, NormFacts());
    block.reduction.emplace(weights_.linear(extra.merging + ".reduction", 4 * C, 2 * C));
  }
  blocks_.push_back(std::move(block));
  seen_.push_back({n, false});
  if (facts.cross) seen_.push_back({n, true});
}

std::int64_t Vision::in_front() const {
  std::int64_t n = 0;
  for (const FrontFacts& front : facts_.in_front) n += front.count;
  return n;
}

const AttentionFacts& Vision::facts(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  if (seen.block == blocks_.size()) return probe_->facts;
  const LayerFacts& facts = facts_.body.layers[seen.block];
  return seen.second ? *facts.cross : facts.attention;
}

const AttentionWeights& Vision::attention(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  if (seen.block == blocks_.size()) return probe_->attention;
  const Layer& l = *blocks_[seen.block].layer;
  return seen.second ? l.cross->weights : l.attention.weights;
}

Tensor Vision::output_weight(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  const bool probe = seen.block == blocks_.size();
  const std::string prefix = probe ? facts_.top.probe : facts_.body.layers[seen.block].prefix;
  const std::int64_t C = facts(layer).heads * facts(layer).value_width;
  return Tensor::f32_from(weights_.at(prefix + facts(layer).output + ".weight", {C, C}));
}

Tensor Vision::output_bias(std::size_t layer) const {
  const Seen& seen = seen_.at(layer);
  const bool probe = seen.block == blocks_.size();
  const std::string prefix = probe ? facts_.top.probe : facts_.body.layers[seen.block].prefix;
  const std::int64_t C = facts(layer).heads * facts(layer).value_width;
  const AnyView bias = weights_.bias(prefix + facts(layer).output, C);
  return bias.data == nullptr ? Tensor::zeros(DType::kF32, {C}) : Tensor::f32_from(bias);
}

KvCache Vision::cache(DType, std::int64_t) const {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[cache] expected a model that reads text bit by bit, found {}",
                          blueprint().family));
}

Tensor Vision::positions_of(const Grid& grid, bool square) const {
  if (positions_.empty()) return {};
  const Grid trained = patches_->trained();
  const std::int64_t C = patches_->width();
  const std::int64_t all = positions_.size() / C;
  const std::int64_t placed =
      all - (facts_.computed ? trained.count() : trained.rows * trained.columns);
  if (facts_.computed || facts_.exact_size) {
    if (grid == trained) return rows_as(positions_.clone(), {all, C});
    throw Error(
        ErrorCode::kInput,
        fmt::format("[pixels] expected {} x {} x {} patches, as many as {} was trained on, found "
                    "{} x {} x {}",
                    trained.frames,
                    trained.rows,
                    trained.columns,
                    blueprint().family,
                    grid.frames,
                    grid.rows,
                    grid.columns));
  }
  const std::int64_t there = trained.rows * trained.columns;
  const std::int64_t n = grid.rows * grid.columns;
  const auto root = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(there))));
  const bool as_square = facts_.square_table && root * root == there;
  const std::int64_t rows = as_square ? root : trained.rows;
  const std::int64_t columns = as_square ? root : trained.columns;
  const bool same = grid.rows == rows && grid.columns == columns;
  const bool as_many = n == there && (square || facts_.fit == Fit::kNearest);
  if (same || (as_square && as_many)) return rows_as(positions_.clone(), {all, C});
  const float* table = positions_.span<float>().data();
  const Tensor fit =
      fitted({table + placed * C, {rows, columns, C}}, grid.rows, grid.columns, facts_.fit);
  Tensor out(DType::kF32, {placed + n, C});
  std::copy_n(table, placed * C, out.span<float>().begin());
  std::copy_n(fit.span<float>().begin(), n * C, out.span<float>().begin() + placed * C);
  return out;
}

Tensor Vision::embed(const Tensor& pixels, const Grid& grid) const {
  const Shape& s = pixels.shape();
  const bool videos = facts_.patches.frames > 0;
  const bool frames_side_by_side = !time_positions_.empty();
  Tensor rows =
      (*patches_)(pixels, {videos ? s[1] / facts_.patches.tubelet : 1, grid.rows, grid.columns});
  const std::int64_t C = rows.dim(2);
  const std::int64_t n = grid.count();
  const std::int64_t B = rows.size() / (n * C);
  const std::int64_t front = in_front();
  const Tensor positions = positions_of(grid, s[s.size() - 2] == s.back());
  const Tensor times =
      time_positions_.empty()
          ? Tensor()
          : fitted({time_positions_.span<float>().data(), {1, time_positions_.size() / C, C}},
                   1,
                   grid.frames,
                   Fit::kNearest);
  Tensor x = Tensor::zeros(DType::kF32, {B, front + n, C});
  const auto add_to = [&](float* to, const float* from) {
    for (std::int64_t c = 0; c < C; ++c) to[c] += from[c];
  };
  const std::int64_t space = grid.rows * grid.columns;
  for (std::int64_t b = 0; b < B; ++b) {
    float* to = x.span<float>().data() + b * (front + n) * C;
    std::int64_t placed = 0;
    for (std::size_t f = 0; f < front_.size(); ++f) {
      for (std::int64_t i = 0; i < facts_.in_front[f].count; ++i, to += C) {
        add_to(to, front_[f].span<float>().data() + i * C);
        if (facts_.in_front[f].placed && !positions.empty())
          add_to(to, positions.span<float>().data() + placed++ * C);
      }
    }
    for (std::int64_t i = 0; i < n; ++i) {
      // Patch by patch or frame by frame: where patch i of this order lies in `rows`.
      const std::int64_t frame = frames_side_by_side ? i % grid.frames : i / space;
      const std::int64_t patch = frames_side_by_side ? i / grid.frames : i % space;
      float* here = to + i * C;
      add_to(here, rows.span<float>().data() + (b * n + frame * space + patch) * C);
      const std::int64_t place = placed + (facts_.computed ? i : patch);
      if (!positions.empty()) add_to(here, positions.span<float>().data() + place * C);
      if (!times.empty()) add_to(here, times.span<float>().data() + frame * C);
    }
  }
  if (!blueprint().embedding_norm.empty()) normalise(embedding_norm_, rows_of(x));
  return x;
}

Grid Vision::grid_at(std::size_t block, Grid grid) const {
  for (std::size_t n = 0; n < block && n < blocks_.size(); ++n) {
    if (!blocks_[n].reduction) continue;
    grid.rows = (grid.rows + 1) / 2;
    grid.columns = (grid.columns + 1) / 2;
  }
  return grid;
}

// One run through the layers.
class Vision::Pass {
 public:
  Pass(const Vision& model, const RunOptions& options, Run& run)
      : model_(model), watch_(options, run, model.layers()) {}

  void block(std::size_t n, Tensor& x, const Grid& grid) {
    const Block& block = model_.blocks_[n];
    const Layer& l = *block.layer;
    const BlockFacts& facts = model_.facts_.blocks[n];
    attend(l.attention, facts.meeting, n, false, x, grid);
    if (l.cross) attend(*l.cross, facts.second, n, true, x, grid);
    Tensor input(DType::kF32, x.shape());
    Tensor found(DType::kF32, x.shape());
    normalise(l.mlp_before, rows_of(std::as_const(x)), rows_of(input));
    (*l.mlp)(rows_of(std::as_const(input)), rows_of(found));
    scale_columns(block.mlp_scale, rows_of(found));
    add(rows_of(std::as_const(found)), rows_of(x));
    if (!block.reduction) return;
    Tensor four = four_in_one(x, grid);
    normalise(block.merging, rows_of(four));
    x = Tensor(DType::kF32, {four.dim(0), four.dim(1), block.reduction->out()});
    (*block.reduction)(rows_of(std::as_const(four)), rows_of(x));
  }

 private:
  void attend(const AttentionPart& part,
              Meeting meeting,
              std::size_t n,
              bool second,
              Tensor& x,
              const Grid& grid) {
    const Block& block = model_.blocks_[n];
    Tensor input(DType::kF32, x.shape());
    normalise(part.before, rows_of(std::as_const(x)), rows_of(input));
    const bool apart = meeting != Meeting::kAll;
    const Places places = apart ? model_.places(n, second, grid) : Places();
    if (apart) input = gathered(input, places);
    AttentionCall call;
    call.options = part.options;
    Tensor rows, regions, bias;
    if (apart) fill(places, input.dim(0), call, rows, regions);
    if (!second && (!block.bias.empty() || !model_.shared_bias_.empty())) {
      bias = bias_of(block, meeting, grid);
      call.options.bias = std::as_const(bias).view<float, 4>();
    }
    watch_.over(number_++, call);
    Tensor found(DType::kF32, input.shape());
    headscope::attention(
        part.weights, std::as_const(input).view<float, 3>(), found.view<float, 3>(), call);
    if (!second && block.dense) {
      (*block.dense)(rows_of(std::as_const(found)), rows_of(input));
      std::swap(found, input);
    }
    if (apart) found = scattered(found, places, x.dim(1));
    if (!second) scale_columns(block.attention_scale, rows_of(found));
    add(rows_of(std::as_const(found)), rows_of(x));
  }

  // Rows that fill a window count in no mean, and rows of a moved window see those of their region alone.
  static void fill(const Places& places,
                   std::int64_t sequences,
                   AttentionCall& call,
                   Tensor& rows,
                   Tensor& regions) {
    const auto each = static_cast<std::size_t>(places.sequences * places.length);
    rows = Tensor(DType::kU8, {sequences, places.length});
    for (std::size_t i = 0; i < rows.span<std::uint8_t>().size(); ++i)
      rows.span<std::uint8_t>()[i] = places.row[i % each] >= 0 ? 1 : 0;
    call.rows = std::as_const(rows).view<std::uint8_t, 2>();
    if (places.region.empty()) return;
    regions = Tensor(DType::kI32, {sequences, places.length});
    for (std::size_t i = 0; i < regions.span<std::int32_t>().size(); ++i)
      regions.span<std::int32_t>()[i] = places.region[i % each];
    call.options.segments = std::as_const(regions).view<std::int32_t, 2>();
  }

  [[nodiscard]] Tensor bias_of(const Block& block, Meeting meeting, const Grid& grid) const {
    if (meeting == Meeting::kWindows) return block.bias.clone();
    const Grid trained = model_.patches_->trained();
    Tensor bias =
        picture_bias(block.bias.empty() ? model_.shared_bias_ : block.bias, trained, grid);
    if (!block.bias.empty() && !model_.shared_bias_.empty()) {
      const Tensor shared = picture_bias(model_.shared_bias_, trained, grid);
      for (std::size_t i = 0; i < bias.span<float>().size(); ++i)
        bias.span<float>()[i] += shared.span<float>()[i];
    }
    return bias;
  }

  const Vision& model_;
  Watch watch_;
  std::size_t number_ = 0;  // of the next attention
};

Places Vision::places(std::size_t block, bool second, const Grid& grid) const {
  const BlockFacts& facts = facts_.blocks[block];
  const Meeting meeting = second ? facts.second : facts.meeting;
  std::int64_t shift = facts.shift;
  if (meeting == Meeting::kWindows && std::min(grid.rows, grid.columns) <= facts.side) {
    shift = 0;  // one window across the shorter side: nothing to move
    if (std::min(grid.rows, grid.columns) < facts.side) {
      throw Error(
          ErrorCode::kInput,
          fmt::format(
              "[pixels] expected at least {} x {} patches in layer {}, a window, found {} x {}",
              facts.side,
              facts.side,
              block,
              grid.rows,
              grid.columns));
    }
  }
  return places_of(meeting, grid, in_front(), facts.side, shift);
}

Grid Vision::read_grid(const Tokens& tokens) const {
  if (!tokens.ids.empty()) {
    throw Error(
        ErrorCode::kUsage,
        fmt::format("[tokens] expected pixels alone for {}, found ids", blueprint().family));
  }
  Grid grid = patches_->grid(tokens.pixels);
  if (facts_.frames_apart) grid.frames = 1;
  return grid;
}

Run Vision::run(const Tokens& tokens, const RunOptions& options) const {
  const Grid grid = read_grid(tokens);
  check_layers(options, layers());
  Run run;
  Tensor x = embed(tokens.pixels, grid);
  if (options.hidden_states) run.hidden_states.push_back(x.clone());
  Pass pass(*this, options, run);
  for (std::size_t n = 0; n < blocks_.size(); ++n) {
    pass.block(n, x, grid_at(n, grid));
    if (options.hidden_states && facts_.blocks[n].shown) run.hidden_states.push_back(x.clone());
  }
  if (!blueprint().final_norm.empty()) normalise(final_norm_, rows_of(x));
  run.last_hidden_state = std::move(x);
  run_top(run, options);
  return run;
}

}  // namespace headscope::models
