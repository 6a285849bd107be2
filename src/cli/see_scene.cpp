#include "cli/see_scene.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cli/labels.h"
#include "cli/maps.h"
#include "cli/see_parts.h"
#include "headscope/image.h"
#include "headscope/music.h"

namespace headscope::cli {

namespace {

constexpr int kMostColumns = 44;  // of a picture on the screen
constexpr double kDimmed = 0.22;  // what is left of a picture where no light falls
constexpr std::array<std::string_view, 5> kShades = {"·", "░", "▒", "▓", "█"};

// Weights per place, averaged over the heads asked for, and the share that falls on places at all.
struct Light {
  std::int64_t frames = 1, rows = 0, columns = 0;
  std::vector<double> weight;
  [[nodiscard]] double most() const {
    return weight.empty() ? 0.0 : *std::max_element(weight.begin(), weight.end());
  }
  [[nodiscard]] double sum() const {
    double out = 0.0;
    for (const double w : weight) out += w;
    return out;
  }
};

// Where on a square-root scale up to `most`.
double part_of(double weight, double most) {
  return most > 0.0 ? std::sqrt(std::clamp(weight / most, 0.0, 1.0)) : 0.0;
}

std::string_view shade_of(double part) {
  return kShades[static_cast<std::size_t>(std::lround(part * (kShades.size() - 1)))];
}

std::string shaded(const Screen& screen, double part) {
  return screen.colour ? shade(screen, part * part, shade_of(part)) : std::string(shade_of(part));
}

// How shades read: a darker background where there is colour, else a denser mark.
std::string shades_mean(const Screen& screen) {
  return say(screen.lang, screen.colour ? Word::kDarker : Word::kDenser);
}

// The row that asks: sequence and row in the record of a layer; none: all rows, on average.
struct Asked {
  std::optional<std::int64_t> row;
  std::int64_t b = 0;
  const Label* label = nullptr;
};

Asked asked_in(const Seen& seen, int layer) {
  const Sighting& sighting = *seen.sighting;
  const FocusRecord& record = sighting.layers.at(static_cast<std::size_t>(layer));
  const auto& labels = sighting.labels;
  if (record.rows != record.keys) return {};
  if (!seen.row) {  // what stands in front of a picture gathers it; of other inputs all rows count
    const Label* first = sighting.key_label(layer, 0, 0);
    const bool gathers =
        in_pictures(sighting) && record.batch == 1 && first != nullptr && first->special;
    return gathers ? Asked{0, 0, first} : Asked{};
  }
  const std::string& name = labels.at(static_cast<std::size_t>(*seen.row)).text;
  for (std::int64_t b = 0; b < record.batch; ++b) {
    for (std::int64_t j = 0; j < record.keys; ++j) {
      const bool own = record.batch == 1 && static_cast<std::int64_t>(labels.size()) == record.keys;
      if (own && j != *seen.row) continue;  // names of notes come again
      const Label* label = sighting.key_label(layer, b, j);
      if (label != nullptr && label->text == name) return {j, b, label};
    }
  }
  return {};
}

std::vector<int> heads_of(const Seen& seen, int layer, std::optional<HeadId> head) {
  if (head) return {head->head};
  return seen.sighting->layers.at(static_cast<std::size_t>(layer)).heads;
}

Light light_of(const Seen& seen, int layer, std::optional<HeadId> head, const Asked& asked) {
  Light out;
  const std::vector<int> heads = heads_of(seen, layer, head);
  for (const int h : heads) {
    const Tensor one = seen.sighting->light(layer, h, asked.row, asked.b);
    out.frames = one.dim(0);
    out.rows = one.dim(1);
    out.columns = one.dim(2);
    out.weight.resize(static_cast<std::size_t>(one.size()));
    for (std::size_t i = 0; i < out.weight.size(); ++i)
      out.weight[i] +=
          static_cast<double>(one.span<float>()[i]) / static_cast<double>(heads.size());
  }
  return out;
}

// Weights of all keys of an input that is no picture, averaged as above.
std::vector<double> weights_of(const Seen& seen,
                               int layer,
                               std::optional<HeadId> head,
                               const Asked& asked) {
  const FocusRecord& record = seen.sighting->layers.at(static_cast<std::size_t>(layer));
  const std::vector<int> heads = heads_of(seen, layer, head);
  std::vector<double> out(static_cast<std::size_t>(record.keys), 0.0);
  for (const int h : heads) {
    std::vector<float> row(out.size());
    if (asked.row) {
      record.row(asked.b, h, *asked.row, 0, row);
    } else {
      const auto mass = record.column_mass.view<float, 3>()[0][record.slot(h)];
      for (std::size_t j = 0; j < row.size(); ++j)
        row[j] = mass(static_cast<std::int64_t>(j)) / static_cast<float>(record.rows);
    }
    for (std::size_t j = 0; j < row.size(); ++j)
      out[j] += static_cast<double>(row[j]) / static_cast<double>(heads.size());
  }
  return out;
}

std::string dot(const Screen& screen, const std::array<int, 3>& c, bool background) {
  const int plane = background ? 48 : 38;
  if (screen.deep) return fmt::format("{};2;{};{};{}", plane, c[0], c[1], c[2]);
  const auto step = [](int x) { return (x * 5 + 127) / 255; };
  return fmt::format("{};5;{}", plane, 16 + 36 * step(c[0]) + 6 * step(c[1]) + step(c[2]));
}

// A frame in half blocks, `columns` dots wide; lit by its light, or as it is.
std::vector<std::string> picture_lines(const Screen& screen,
                                       const Tensor& pictures,
                                       std::int64_t frame,
                                       int columns,
                                       const Light* light,
                                       std::int64_t light_frame) {
  const auto whole = pictures.view<std::uint8_t, 4>()[frame];
  const std::int64_t height =
      std::max<std::int64_t>(1, (columns * whole.shape[0] + whole.shape[1] / 2) / whole.shape[1]);
  const Tensor small = resize(whole, height, columns, ImageRules::Filter::kBox);
  const auto dots = small.view<std::uint8_t, 3>();
  const double most = light == nullptr ? 0.0 : light->most();
  const auto at = [&](std::int64_t y, std::int64_t x) {
    double lit = 1.0;
    if (light != nullptr) {
      const std::int64_t r = y * light->rows / height;
      const std::int64_t c = x * light->columns / columns;
      const auto place =
          static_cast<std::size_t>((light_frame * light->rows + r) * light->columns + c);
      lit = kDimmed + (1.0 - kDimmed) * part_of(light->weight[place], most);
    }
    std::array<int, 3> out{};
    for (std::size_t k = 0; k < 3; ++k)
      out[k] = static_cast<int>(std::lround(lit * dots(y, x, static_cast<std::int64_t>(k))));
    return out;
  };
  std::vector<std::string> lines;
  for (std::int64_t y = 0; y < height; y += 2) {
    std::string line;
    for (std::int64_t x = 0; x < columns; ++x) {
      line += "\x1b[" + dot(screen, at(y, x), false);
      if (y + 1 < height) line += ';' + dot(screen, at(y + 1, x), true);
      line += "m▀\x1b[0m";
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

// The patches of a frame as shades, two columns each where they fit.
std::vector<std::string> shade_lines(const Light& light, std::int64_t frame, int room) {
  std::vector<std::string> lines;
  const int wide = light.columns * 2 <= room ? 2 : 1;
  const std::int64_t shown = std::min<std::int64_t>(light.columns, room);
  for (std::int64_t r = 0; r < light.rows; ++r) {
    std::string line;
    for (std::int64_t c = 0; c < shown; ++c) {
      // Of more patches than columns the strongest of a block.
      double w = 0.0;
      for (std::int64_t k = c * light.columns / shown; k <= ((c + 1) * light.columns - 1) / shown;
           ++k)
        w = std::max(
            w,
            light.weight[static_cast<std::size_t>((frame * light.rows + r) * light.columns + k)]);
      for (int n = 0; n < wide; ++n) line += shade_of(part_of(w, light.most()));
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string beside(const std::vector<std::vector<std::string>>& blocks, int width) {
  std::size_t height = 0;
  for (const auto& block : blocks) height = std::max(height, block.size());
  std::string out;
  for (std::size_t y = 0; y < height; ++y) {
    std::string line = "  ";
    for (std::size_t n = 0; n < blocks.size(); ++n) {
      line = left(line, 2 + static_cast<int>(n) * (width + 2));
      if (y < blocks[n].size()) line += blocks[n][y];
    }
    out += trimmed(line) + '\n';
  }
  return out;
}

std::string render_pictures(const Screen& screen, const Sighting& sighting, const Light& light) {
  const Tensor& pictures = sighting.scene.pictures;
  std::string out;
  if (sighting.scene.kind == Scene::Kind::kImage) {
    const int side = std::min(kMostColumns, (screen.width - 6) / 2);
    if (!screen.colour || pictures.empty())
      return beside({shade_lines(light, 0, screen.width - 4)}, screen.width);
    return beside({picture_lines(screen, pictures, 0, side, nullptr, 0),
                   picture_lines(screen, pictures, 0, side, &light, 0)},
                  side);
  }
  // A film strip: the picture of each time step of the model, several a line.
  const int across =
      static_cast<int>(std::clamp<std::int64_t>(light.frames, 1, screen.width >= 100 ? 4 : 3));
  const int side = (screen.width - 2) / across - 2;
  const auto shots = pictures.empty() ? std::int64_t{0} : pictures.dim(0);
  for (std::int64_t first = 0; first < light.frames; first += across) {
    std::vector<std::vector<std::string>> blocks;
    std::string names = "  ";
    for (std::int64_t f = first; f < std::min(first + across, light.frames); ++f) {
      const std::int64_t shot = shots * f / light.frames;
      std::string name = std::to_string(f);
      if (static_cast<std::size_t>(shot) < sighting.scene.seconds.size())
        name += "  " +
                say(screen.lang,
                    Word::kSeconds,
                    fmt::format("{:.2f}", sighting.scene.seconds[static_cast<std::size_t>(shot)]));
      names = left(names, 2 + static_cast<int>(f - first) * (side + 2)) + name;
      blocks.push_back(screen.colour && shots > 0
                           ? picture_lines(screen, pictures, shot, side, &light, f)
                           : shade_lines(light, f, side));
    }
    out += dim(screen, names) + beside(blocks, side);
  }
  return out;
}

// What a column of a roll or chart stands for, and where it begins.
struct Window {
  std::int64_t from = 0, to = 0, step = 1;
  [[nodiscard]] int columns() const { return static_cast<int>((to - from + step - 1) / step); }
};

// All of it when it fits; else several steps a column, at most four, and the part around the row that asks.
Window window_of(std::int64_t length, int room, std::int64_t middle) {
  Window out{0, length, 1};
  if (length <= room) return out;
  out.step = std::min<std::int64_t>((length + room - 1) / room, 4);
  const std::int64_t shown = std::min<std::int64_t>(room * out.step, length);
  out.from = std::clamp<std::int64_t>(middle - shown / 2, 0, length - shown) / out.step * out.step;
  out.to = std::min(out.from + shown, length);
  return out;
}

std::string render_roll(const Screen& screen,
                        const Sighting& sighting,
                        const std::vector<double>& weights,
                        const Asked& asked) {
  int low = 127;
  int high = 0;
  std::int64_t steps = 0;
  const auto& values = sighting.scene.values;
  for (std::size_t j = 0; j < values.size(); ++j) {
    steps = std::max<std::int64_t>(steps, sighting.labels[j].column + 1);
    if (!(values[j] >= 0.0)) continue;
    low = std::min(low, static_cast<int>(values[j]));
    high = std::max(high, static_cast<int>(values[j]));
  }
  if (low > high) return "";
  const Label* from =
      asked.row ? &sighting.labels.at(static_cast<std::size_t>(*asked.row)) : nullptr;
  const Window window = window_of(steps, screen.width - 8, from != nullptr ? from->column : 0);
  struct Cell {
    double weight = -1.0;
    bool asks = false;
  };
  std::vector<Cell> cells(static_cast<std::size_t>((high - low + 1) * window.columns()));
  double most = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const std::int64_t step = sighting.labels[j].column;
    if (!(values[j] >= 0.0) || step < window.from || step >= window.to) continue;
    const auto row = static_cast<std::int64_t>(high - static_cast<int>(values[j]));
    Cell& cell = cells[static_cast<std::size_t>(row * window.columns() +
                                                (step - window.from) / window.step)];
    cell.weight = std::max(cell.weight, weights[j]);
    cell.asks |= asked.row && static_cast<std::int64_t>(j) == *asked.row;
    most = std::max(most, weights[j]);
  }
  std::string out, asks;
  for (int pitch = high; pitch >= low; --pitch) {
    std::string line = right(note_name(pitch), 6) + ' ';
    for (int c = 0; c < window.columns(); ++c) {
      const Cell& cell = cells[static_cast<std::size_t>((high - pitch) * window.columns() + c)];
      const double part = part_of(cell.weight, most);
      if (cell.asks) {
        line += paint(screen, Paint::kTitle, "◆");
        asks = say(screen.lang, Word::kRollAsks);
      } else if (cell.weight < 0.0) {
        line += ' ';
      } else {
        line += shaded(screen, part);
      }
    }
    out += trimmed(line) + '\n';
  }
  return out + note(screen,
                    say(screen.lang,
                        Word::kRollNote,
                        counted(screen.lang, Word::kSteps, window.step),
                        shades_mean(screen),
                        asks));
}

// One line of a table in columns of the screen.
struct Line {
  std::vector<double> value, weight;
  double low = INFINITY, high = -INFINITY, most = 0.0;
  int asks = -1;
};

// Where a label lies along the line.
std::int64_t along(const Sighting& sighting, const Label& label) {
  return sighting.scene.kind == Scene::Kind::kBytes ? label.column : label.row;
}

Line line_of(const Sighting& sighting,
             const std::vector<double>& weights,
             const Asked& asked,
             const Window& window,
             int column) {
  Line out;
  out.value.assign(static_cast<std::size_t>(window.columns()), std::nan(""));
  out.weight.assign(out.value.size(), 0.0);
  const bool bytes = sighting.scene.kind == Scene::Kind::kBytes;
  for (std::size_t j = 0; j < sighting.labels.size(); ++j) {
    const Label& label = sighting.labels[j];
    const std::int64_t at = along(sighting, label);
    if (at < window.from || at >= window.to || (!bytes && label.column != column)) continue;
    const auto c = static_cast<std::size_t>((at - window.from) / window.step);
    const double x = sighting.scene.values[j];
    if (std::isfinite(x)) {
      out.value[c] = x;
      out.low = std::min(out.low, x);
      out.high = std::max(out.high, x);
    }
    out.weight[c] = std::max(out.weight[c], weights[j]);
    out.most = std::max(out.most, out.weight[c]);
    if (asked.row && static_cast<std::int64_t>(j) == *asked.row) out.asks = static_cast<int>(c);
  }
  return out;
}

std::string draw_line(const Screen& screen, const Line& line) {
  constexpr int kHeight = 9;
  std::string out;
  const bool any = line.high >= line.low;
  // The largest doubles differ by more than a double can be; halves of the least are none.
  const double part = std::isfinite(line.high - line.low) ? 1.0 : 0.5;
  const double span = line.high > line.low ? line.high * part - line.low * part : 1.0;
  for (int y = kHeight - 1; y >= 0; --y) {
    std::string edge;
    if (any && y == kHeight - 1) edge = figure(line.high);
    if (any && y == 0) edge = figure(line.low);
    std::string row = right(edge, 9) + ' ';
    for (std::size_t c = 0; c < line.value.size(); ++c) {
      const bool here =
          std::isfinite(line.value[c]) &&
          std::lround((line.value[c] * part - line.low * part) / span * (kHeight - 1)) == y;
      row += !here ? std::string(" ") : line.asks == static_cast<int>(c) ? "◆" : "●";
    }
    out += trimmed(row) + '\n';
  }
  std::string bar = spaces(10);
  for (const double w : line.weight) bar += shaded(screen, part_of(w, line.most));
  return out + bar + '\n';
}

// The first and the last row of a chart, at its ends; where it is too narrow for both, beside each other: dates are
// not cut.
std::string edges(const Screen& screen, const Scene& scene, const Window& window) {
  const int most = (screen.width - 14) / 2;
  const std::string first = clip(clean(scene.rows[static_cast<std::size_t>(window.from)]), most);
  const std::string last = clip(clean(scene.rows[static_cast<std::size_t>(window.to - 1)]), most);
  if (columns(first) + columns(last) >= window.columns())
    return window.to - window.from > 1 ? first + " … " + last : first;
  return left(first, window.columns() - columns(last)) + last;
}

std::string render_chart(const Screen& screen,
                         const Sighting& sighting,
                         const std::vector<double>& weights,
                         const Asked& asked) {
  const Scene& scene = sighting.scene;
  std::int64_t length = 0;
  for (const Label& label : sighting.labels)
    length = std::max<std::int64_t>(length, along(sighting, label) + 1);
  const Label* from =
      asked.row ? &sighting.labels.at(static_cast<std::size_t>(*asked.row)) : nullptr;
  const Window window =
      window_of(length, screen.width - 12, from != nullptr ? along(sighting, *from) : length);
  std::string out;
  bool asks = false;  // whether a mark shows the row
  const auto draw = [&](int column) {
    const Line line = line_of(sighting, weights, asked, window, column);
    asks |= line.asks >= 0 && std::isfinite(line.value[static_cast<std::size_t>(line.asks)]);
    out += draw_line(screen, line);
  };
  if (scene.kind == Scene::Kind::kBytes) draw(0);
  for (std::size_t n = 0; n < scene.names.size(); ++n) {
    out += dim(screen, "  " + clip(clean(scene.names[n]), screen.width - 4));
    draw(static_cast<int>(n));
  }
  if (static_cast<std::int64_t>(scene.rows.size()) >= window.to && window.to > window.from)
    out += dim(screen, spaces(10) + edges(screen, scene, window));
  const Word step = scene.kind == Scene::Kind::kBytes ? Word::kBytes : Word::kTableRows;
  return out + note(screen,
                    say(screen.lang,
                        Word::kChartNote,
                        counted(screen.lang, step, window.step),
                        shades_mean(screen),
                        asks ? say(screen.lang, Word::kChartAsks) : ""));
}

std::string heading(const Screen& screen,
                    const Seen& seen,
                    int layer,
                    std::optional<HeadId> head,
                    const Asked& asked) {
  const std::string who =
      asked.label == nullptr ? "" : clean(full_label(screen.lang, *seen.sighting, *asked.label));
  if (head)
    return asked.row ? say(screen.lang, Word::kLightOf, head->name(), who)
                     : say(screen.lang, Word::kLightAll, head->name());
  const auto heads = static_cast<std::int64_t>(heads_of(seen, layer, head).size());
  const std::string all = counted(screen.lang, Word::kHeads, heads);
  return asked.row ? say(screen.lang, Word::kLightMean, layer, who, all)
                   : say(screen.lang, Word::kLightMeanAll, layer, all);
}

// Cells of a head's light across a line of so many heads.
int light_side(const Screen& screen, std::size_t heads) {
  const auto count = static_cast<int>(std::max<std::size_t>(heads, 1));
  return std::clamp((screen.width - 6) / count - 2, 7, 14);
}

// A light of few cells, each the strongest of its block and of all frames, on a scale of its own: lights of many
// patches are all small.
std::vector<std::string> small_light(const Screen& screen, const Tensor& light, int side) {
  const auto view = light.view<float, 3>();
  Pixels pixels;
  pixels.columns = static_cast<int>(std::min<std::int64_t>(view.shape[2], side));
  pixels.rows = static_cast<int>(std::min<std::int64_t>(view.shape[1], side));
  pixels.value.assign(static_cast<std::size_t>(pixels.rows * pixels.columns), 0.0F);
  float most = 0.0F;
  for (std::int64_t f = 0; f < view.shape[0]; ++f) {
    for (std::int64_t r = 0; r < view.shape[1]; ++r) {
      for (std::int64_t c = 0; c < view.shape[2]; ++c) {
        const std::int64_t at =
            r * pixels.rows / view.shape[1] * pixels.columns + c * pixels.columns / view.shape[2];
        float& cell = pixels.value[static_cast<std::size_t>(at)];
        cell = std::max(cell, view(f, r, c));
        most = std::max(most, cell);
      }
    }
  }
  for (float& x : pixels.value) x = most > 0.0F ? x / most : 0.0F;
  if (screen.colour) return half_blocks(screen, pixels);
  const Light all{1, pixels.rows, pixels.columns, {pixels.value.begin(), pixels.value.end()}};
  return shade_lines(all, 0, pixels.columns);
}

}  // namespace

bool in_pictures(const Sighting& sighting) {
  return sighting.scene.kind == Scene::Kind::kImage || sighting.scene.kind == Scene::Kind::kVideo;
}

std::string scene_facts(const Screen& screen, const Sighting& sighting) {
  const Scene& scene = sighting.scene;
  std::int64_t frames = 0, rows = 0, columns = 0;
  for (const Label& label : sighting.labels) {
    frames = std::max<std::int64_t>(frames, label.frame + 1);
    rows = std::max<std::int64_t>(rows, label.row + 1);
    columns = std::max<std::int64_t>(columns, label.column + 1);
  }
  const auto n = [&](Word word, std::int64_t count) { return counted(screen.lang, word, count); };
  switch (scene.kind) {
    case Scene::Kind::kImage:
      return say(screen.lang, Word::kSceneImage, rows, columns);
    case Scene::Kind::kVideo:
      return say(screen.lang, Word::kSceneVideo, n(Word::kFrames, frames), rows, columns);
    case Scene::Kind::kNotes:
      return say(screen.lang, Word::kSceneNotes, n(Word::kSteps, columns), n(Word::kVoices, rows));
    case Scene::Kind::kTable: {
      std::string names;
      for (const std::string& one : scene.names) names += (names.empty() ? "" : ", ") + clean(one);
      return say(screen.lang, Word::kSceneTable, n(Word::kTableRows, rows), clip(names, 40));
    }
    case Scene::Kind::kBytes:
      return n(Word::kBytes, columns);
    case Scene::Kind::kText:
      break;
  }
  return "";
}

std::string render_scene(const Screen& screen, const Seen& seen, std::optional<HeadId> head) {
  const Sighting& sighting = *seen.sighting;
  const std::vector<int> layers = shown_layers(seen);
  if (layers.empty()) return "";
  const int layer = head ? head->layer : layers.back();
  const Asked asked = asked_in(seen, layer);
  std::string out =
      '\n' + title(screen, clip("  " + heading(screen, seen, layer, head, asked), screen.width));
  if (in_pictures(sighting)) {
    const Light light = light_of(seen, layer, head, asked);
    out += render_pictures(screen, sighting, light);
    const bool lit = screen.colour && !sighting.scene.pictures.empty();  // as light on the picture
    return out + note(screen,
                      say(screen.lang,
                          Word::kLightNote,
                          say(screen.lang, lit ? Word::kLighter : Word::kDenser),
                          figure(light.most()),
                          share(light.sum())));
  }
  const std::vector<double> weights = weights_of(seen, layer, head, asked);
  if (sighting.scene.kind == Scene::Kind::kNotes)
    return out + render_roll(screen, sighting, weights, asked);
  return out + render_chart(screen, sighting, weights, asked);
}

std::string light_grid_note(const Screen& screen,
                            const Sighting& sighting,
                            const std::vector<int>& layers) {
  if (layers.empty()) return "";
  const int layer = layers.front();
  const auto& heads = sighting.layers.at(static_cast<std::size_t>(layer)).heads;
  if (heads.empty()) return "";
  const Tensor light = sighting.light(layer, heads.front());
  const std::int64_t side = light_side(screen, heads.size());
  return note(screen,
              say(screen.lang,
                  Word::kMosaicNote,
                  light.dim(1),
                  light.dim(2),
                  std::min(light.dim(1), side),
                  std::min(light.dim(2), side),
                  light.dim(0) > 1 ? text(screen.lang, Word::kMosaicFrames) : "",
                  shades_mean(screen)));
}

std::string light_grid(const Screen& screen,
                       const Sighting& sighting,
                       const std::vector<int>& layers) {
  std::string out;
  for (const int layer : layers) {
    const auto& heads = sighting.layers.at(static_cast<std::size_t>(layer)).heads;
    const int side = light_side(screen, heads.size());
    const auto across = static_cast<std::size_t>(std::max((screen.width - 4) / (side + 2), 1));
    for (std::size_t from = 0; from < heads.size(); from += across) {
      std::vector<std::vector<std::string>> blocks;
      std::string names = "  ";
      for (std::size_t n = from; n < std::min(from + across, heads.size()); ++n) {
        names = left(names, 2 + static_cast<int>(n - from) * (side + 2));
        names += HeadId{layer, heads[n]}.name();
        blocks.push_back(small_light(screen, sighting.light(layer, heads[n]), side));
      }
      out += dim(screen, names) + beside(blocks, side);
    }
  }
  return out;
}

}  // namespace headscope::cli
