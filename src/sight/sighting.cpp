#include "headscope/sighting.h"

#include <fmt/format.h>

#include <algorithm>

#include "headscope/threads.h"

namespace headscope {

namespace {

const FocusRecord& layer_of(const Sighting& sighting, int layer) {
  if (layer < 0 || layer >= static_cast<int>(sighting.layers.size())) {
    throw Error(ErrorCode::kRange,
                fmt::format("[sight] expected a layer 0..{}, found {}",
                            static_cast<int>(sighting.layers.size()) - 1,
                            layer));
  }
  return sighting.layers[static_cast<std::size_t>(layer)];
}

std::int64_t up(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

void check_cells(const FocusRecord& record) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26;
  if (record.rows > 0 && record.keys > kMost / record.rows) {
    throw Error(
        ErrorCode::kResources,
        fmt::format("[sight] expected a map of at most {} cells, found {} x {}: ask for tiles",
                    kMost,
                    record.rows,
                    record.keys));
  }
}

}  // namespace

Tensor Sighting::row(int layer, int head, std::int64_t i, std::int64_t b) const {
  const FocusRecord& record = layer_of(*this, layer);
  record.row(b, head, i, 0, {});  // Throws before memory is asked for.
  Tensor out(DType::kF32, {record.keys});
  record.row(b, head, i, out.span<float>());
  return out;
}

Tensor Sighting::tile(int layer,
                      int head,
                      int level,
                      std::int64_t x,
                      std::int64_t y,
                      Pool pool,
                      std::int64_t b) const {
  const FocusRecord& record = layer_of(*this, layer);
  const std::int64_t cell = level < 0 || level > 40 ? 0 : std::int64_t{1} << level;
  const std::int64_t across = cell == 0 ? 0 : up(up(record.keys, cell), kTile);
  const std::int64_t down = cell == 0 ? 0 : up(up(record.rows, cell), kTile);
  if (x < 0 || x >= across || y < 0 || y >= down) {
    throw Error(
        ErrorCode::kRange,
        fmt::format(
            "[sight] expected a tile below {} x {} at level 0..40, found {} x {} at level {}",
            across,
            down,
            x,
            y,
            level));
  }
  const std::int64_t left = x * kTile * cell;
  const std::int64_t top = y * kTile * cell;
  const std::int64_t keys = std::min(record.keys - left, kTile * cell);
  const std::int64_t rows = std::min(record.rows - top, kTile * cell);
  Tensor out = Tensor::zeros(DType::kF32, {up(rows, cell), up(keys, cell)});
  const auto cells = out.view<float, 2>();
  (void)record.slot(head);  // Throws here rather than in a thread.
  parallel_for(out.dim(0), [&](std::int64_t r) {
    std::vector<float> weights(static_cast<std::size_t>(keys));
    std::vector<double> sums(static_cast<std::size_t>(out.dim(1)), 0.0);
    const std::int64_t height = std::min(cell, rows - r * cell);
    for (std::int64_t i = 0; i < height; ++i) {
      record.row(b, head, top + r * cell + i, left, weights);
      for (std::int64_t j = 0; j < keys; ++j) {
        const float w = weights[static_cast<std::size_t>(j)];
        sums[static_cast<std::size_t>(j / cell)] += static_cast<double>(w);
        float& most = cells(r, j / cell);
        if (pool == Pool::kMax) most = std::max(most, w);
      }
    }
    if (pool == Pool::kMax) return;
    for (std::int64_t c = 0; c < out.dim(1); ++c) {
      const std::int64_t width = std::min(cell, keys - c * cell);
      cells(r, c) = static_cast<float>(sums[static_cast<std::size_t>(c)] /
                                       static_cast<double>(height * width));
    }
  });
  return out;
}

Tensor Sighting::map(int layer, int head, std::int64_t b) const {
  const FocusRecord& record = layer_of(*this, layer);
  check_cells(record);
  Tensor out(DType::kF32, {record.rows, record.keys});
  const auto rows = out.view<float, 2>();
  (void)record.slot(head);  // Throws here rather than in a thread.
  parallel_for(record.rows, [&](std::int64_t i) {
    record.row(b, head, i, {rows[i].data, static_cast<std::size_t>(record.keys)});
  });
  return out;
}

const Label* Sighting::key_label(int layer, std::int64_t b, std::int64_t j) const {
  const auto l = static_cast<std::size_t>(layer);
  const bool own = l < layer_labels.size() && !layer_labels[l].empty();
  const std::vector<Label>& all = own ? layer_labels[l] : key_labels(layer);
  const std::int64_t at = own ? b * layer_of(*this, layer).keys + j : j;
  const bool there = at >= 0 && at < static_cast<std::int64_t>(all.size());
  return there ? &all[static_cast<std::size_t>(at)] : nullptr;
}

Tensor Sighting::light(int layer, int head, std::optional<std::int64_t> i, std::int64_t b) const {
  const FocusRecord& record = layer_of(*this, layer);
  std::int64_t frames = 0, rows = 0, columns = 0;
  for (std::int64_t n = 0; n < record.batch; ++n) {
    for (std::int64_t j = 0; j < record.keys; ++j) {
      const Label* label = key_label(layer, n, j);
      if (label == nullptr || label->frame < 0) continue;
      frames = std::max<std::int64_t>(frames, label->frame + 1);
      rows = std::max<std::int64_t>(rows, label->row + 1);
      columns = std::max<std::int64_t>(columns, label->column + 1);
    }
  }
  if (frames == 0)
    throw Error(ErrorCode::kUsage, "[light] expected labels in a picture, found none");
  Tensor out = Tensor::zeros(DType::kF32, {frames, rows, columns});
  const auto to = out.view<float, 3>();
  const auto add = [&](std::int64_t n, std::int64_t j, float weight) {
    const Label* label = key_label(layer, n, j);
    if (label != nullptr && label->frame >= 0)
      to(label->frame, label->row, label->column) += weight;
  };
  if (i) {
    const Tensor weights = row(layer, head, *i, b);
    for (std::int64_t j = 0; j < record.keys; ++j)
      add(b, j, weights.span<float>()[static_cast<std::size_t>(j)]);
    return out;
  }
  const std::int64_t slot = record.slot(head);
  if (slot < 0 || record.column_mass.empty()) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[light] expected head {} with its column mass, found none", head));
  }
  const auto mass = record.column_mass.view<float, 3>();
  const auto all = static_cast<float>(record.batch * record.rows);
  for (std::int64_t n = 0; n < record.batch; ++n) {
    for (std::int64_t j = 0; j < record.keys; ++j) add(n, j, mass(n, slot, j) / all);
  }
  return out;
}

std::vector<Sighting::Word> Sighting::words() const {
  std::vector<Word> words;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Label& label = labels[i];
    const auto at = static_cast<std::int64_t>(i);
    const bool goes_on = i > 0 && label.word >= 0 && label.word == labels[i - 1].word;
    if (goes_on) {
      words.back().last = at;
    } else {
      words.push_back({label.text, at, at, label.special});
    }
  }
  for (Word& word : words) {
    const std::int64_t begin = labels[static_cast<std::size_t>(word.first)].begin;
    const std::int64_t end = labels[static_cast<std::size_t>(word.last)].end;
    if (begin >= 0 && begin < end && end <= static_cast<std::int64_t>(text.size())) {
      word.text =
          text.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    }
  }
  return words;
}

Tensor Sighting::word_map(int layer, int head, std::int64_t b) const {
  const FocusRecord& record = layer_of(*this, layer);
  const std::vector<Word> all = words();
  if (record.rows != record.keys || static_cast<std::int64_t>(labels.size()) != record.rows) {
    throw Error(ErrorCode::kShape,
                fmt::format("[sight] expected a square map over {} labels, found {} x {}",
                            labels.size(),
                            record.rows,
                            record.keys));
  }
  const auto W = static_cast<std::int64_t>(all.size());
  const Tensor tokens = map(layer, head, b);
  const auto from = tokens.view<float, 2>();
  Tensor out(DType::kF32, {W, W});
  const auto to = out.view<float, 2>();
  for (std::int64_t r = 0; r < W; ++r) {
    for (std::int64_t c = 0; c < W; ++c) {
      const Word& row = all[static_cast<std::size_t>(r)];
      const Word& column = all[static_cast<std::size_t>(c)];
      double sum = 0.0;
      for (std::int64_t i = row.first; i <= row.last; ++i) {
        for (std::int64_t j = column.first; j <= column.last; ++j)
          sum += static_cast<double>(from(i, j));
      }
      to(r, c) = static_cast<float>(sum / static_cast<double>(row.last - row.first + 1));
    }
  }
  return out;
}

}  // namespace headscope
