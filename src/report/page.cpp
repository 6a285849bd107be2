#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assets/web.h"
#include "formats/beginning.h"
#include "report/report_data.h"

namespace headscope::report {
namespace {

/// The page's script, in an order that lets no module run before what it uses.
std::string script() {
  return join_modules({assets::web_words_mjs,   assets::web_dom_mjs,     assets::web_colour_mjs,
                       assets::web_data_mjs,    assets::web_measure_mjs, assets::web_shown_mjs,
                       assets::web_state_mjs,   assets::web_badge_mjs,   assets::web_grid_mjs,
                       assets::web_arcs_mjs,    assets::web_heat_mjs,    assets::web_head_mjs,
                       assets::web_matrix_mjs,  assets::web_walk_mjs,    assets::web_places_mjs,
                       assets::web_scene_mjs,   assets::web_picture_mjs, assets::web_roll_mjs,
                       assets::web_inspect_mjs, assets::web_export_mjs,  assets::web_main_mjs});
}

std::string shape_text(const Shape& shape) {
  std::string out;
  for (const std::int64_t axis : shape) {
    if (!out.empty()) out += ' ';
    out += std::to_string(axis);
  }
  return out;
}

std::string numbers_html(const Numbers& numbers) {
  std::string out;
  std::size_t bytes = 0;
  for (const Stored& s : numbers.tensors) bytes += s.bytes.size() / 3 * 4 + 200;
  out.reserve(bytes);
  for (const Stored& s : numbers.tensors) {
    out += "<script type=\"text/plain\" id=\"n-" + s.name + "\" data-type=\"";
    out += std::string(name(s.dtype)) + "\" data-shape=\"" + shape_text(s.shape) + "\">";
    out += base64(s.bytes);
    out += "</script>\n";
  }
  return out;
}

void check(const Page& page) {
  const auto fail = [](ErrorCode code, const std::string& what) {
    throw Error(code, "[report] expected " + what);
  };
  if (page.sighting == nullptr) fail(ErrorCode::kUsage, "a sighting, found none");
  const Scene::Kind kind = page.sighting->scene.kind;
  const bool scene = kind != Scene::Kind::kText && kind != Scene::Kind::kBytes;
  if (page.view != "head" && page.view != "walk" && !(scene && page.view == "media")) {
    fail(ErrorCode::kUsage,
         std::string("view head") + (scene ? ", walk or media" : " or walk") + ", found " +
             page.view);
  }
  if (page.language != "en" && page.language != "ru") {
    fail(ErrorCode::kUsage, "language en or ru, found " + page.language);
  }
  const auto outside = [](int at, int size) { return at < 0 || at >= size; };
  if (outside(page.layer, page.layers) || outside(page.head, page.heads)) {
    fail(ErrorCode::kRange,
         "a head below " + std::to_string(page.layers) + "." + std::to_string(page.heads) +
             ", found " + std::to_string(page.layer) + "." + std::to_string(page.head));
  }
  for (const Walk& walk : page.walks) {
    if (walk.trace == nullptr || walk.output_weight == nullptr || walk.output_bias == nullptr) {
      fail(ErrorCode::kUsage, "a trace and output weights of layer " + std::to_string(walk.layer));
    }
    if (outside(walk.layer, page.layers)) {
      fail(ErrorCode::kRange,
           "a walk below layer " + std::to_string(page.layers) + ", found " +
               std::to_string(walk.layer));
    }
  }
}

/// Fills {{name}} marks of the template once: what is filled in is never looked at again.
std::string fill(std::string_view page,
                 const std::vector<std::pair<std::string_view, std::string>>& values) {
  std::string out;
  while (true) {
    const std::size_t open = page.find("{{");
    const std::size_t close = open == page.npos ? page.npos : page.find("}}", open);
    if (close == page.npos) return out.append(page);
    const std::string_view mark = page.substr(open + 2, close - open - 2);
    out.append(page.substr(0, open));
    const auto at = std::find_if(
        values.begin(), values.end(), [&](const auto& value) { return value.first == mark; });
    if (at == values.end()) {
      throw Error(ErrorCode::kInternal, "[report] expected a value for " + std::string(mark));
    }
    out.append(at->second);
    page.remove_prefix(close + 2);
  }
}

/// What a window's title has room for of a text.
std::string title_of(std::string_view text) {
  const std::string_view shown = beginning(text, 80);
  return std::string(shown) + (shown.size() < text.size() ? "…" : "");
}

}  // namespace

std::string base64(const std::vector<std::byte>& bytes) {
  static constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t n = std::min<std::size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < n ? std::to_integer<unsigned>(bytes[i + j]) : 0U);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      out += j <= n ? kLetters[group >> (18 - 6 * j) & 63U] : '=';
    }
  }
  return out;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string join_modules(const std::vector<std::string_view>& modules) {
  std::string out;
  for (std::string_view module : modules) {
    while (!module.empty()) {
      const std::size_t end = std::min(module.find('\n'), module.size() - 1) + 1;
      std::string_view line = module.substr(0, end);
      module.remove_prefix(end);
      if (line.starts_with("import ")) continue;  // one line each, among the page's own modules
      if (line.starts_with("export ")) line.remove_prefix(7);
      out.append(line);
    }
    out += '\n';
  }
  return out;
}

std::string page_html(const Page& page) {
  check(page);
  const Numbers numbers = collect(page);
  return fill(
      assets::web_page_html,
      {{"language", page.language},
       {"title", escape_html("headscope: " + page.model + " · " + title_of(page.sighting->text))},
       {"style", std::string(assets::web_page_css)},
       {"description", describe(page, numbers)},
       {"numbers", numbers_html(numbers)},
       {"script", script()}});
}

}  // namespace headscope::report
