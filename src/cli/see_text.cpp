#include <algorithm>
#include <filesystem>
#include <set>

#include "cli/draw.h"
#include "cli/labels.h"
#include "cli/maps.h"
#include "cli/see_parts.h"
#include "cli/see_period.h"
#include "cli/see_scene.h"
#include "cli/subject.h"

namespace headscope::cli {

namespace {
constexpr int kFewHeads = 16;  // Up to here every head gets its line without being asked.
constexpr int kBar = 6;

std::string_view badge(const Role& role) {
  if (role.shape == "circle") return "●";
  if (role.shape == "square") return "■";
  if (role.shape == "triangle") return "▲";
  if (role.shape == "hexagon") return "⬢";
  return "◌";
}

// The one source of all roles when none of them has a score, else "".
std::string common_source(const Screen& screen, const std::vector<Role>& roles) {
  for (const Role& role : roles) {
    if (role.n != 0 || role.source != roles.front().source) return "";
  }
  return source_of(screen, roles.front());
}

std::string render_grid(const Screen& screen, const Seen& seen) {
  const auto layers = shown_layers(seen);
  if (in_pictures(*seen.sighting)) {
    std::string out = '\n' + title(screen, "  " + say(screen.lang, Word::kGridTitle));
    return out + light_grid_note(screen, *seen.sighting, layers) +
           light_grid(screen, *seen.sighting, layers);
  }
  const auto tokens = static_cast<std::int64_t>(seen.sighting->labels.size());
  const int side = grid_side(screen, *seen.sighting);
  std::string out = '\n' + title(screen, "  " + say(screen.lang, Word::kGridTitle));
  out += note(screen,
              say(screen.lang,
                  Word::kGridNote,
                  tokens,
                  tokens,
                  side,
                  side,
                  say(screen.lang, screen.colour ? Word::kDarker : Word::kMarkMeans)));
  return out + grid(screen, *seen.sighting, layers);
}

// Links of an input that is no text, one a line: its labels are long.
std::string scene_links(const Screen& screen, const Seen& seen, const Links& links, HeadId id) {
  const auto found = links_shown(seen, links, id, seen.links > 0 ? seen.links : 12, true);
  if (found.empty()) return "";
  std::string out = '\n' + title(screen, "  " + say(screen.lang, Word::kSceneLinks));
  const int room = (screen.width - 17) / 2;
  const auto name = [&](std::size_t word) {
    const auto token = static_cast<std::size_t>(links.words()[word].first);
    const Sighting& sighting = *seen.sighting;
    const std::string full = clean(full_label(screen.lang, sighting, sighting.labels.at(token)));
    return clip(columns(full) <= room ? full : links.name(word), room);
  };
  for (const Link& link : found) {
    out += "  " + share(link.weight) + "  " + bar(link.weight, 6) + ' ' + name(link.from) + " → " +
           name(link.to) + '\n';
  }
  return out;
}

std::string render_large(const Screen& screen, const Seen& seen, const Links& links) {
  std::string out;
  for (const HeadId id : seen.large) {
    std::string labels;
    for (const Role& role : seen.roles) {
      if (role.layer != id.layer || role.head != id.head) continue;
      labels +=
          "  " + std::string(badge(role)) + left(clip(role.letter, 1), 2) +
          wrap(role_name(role, screen.lang) + ": " + role_line(screen, role), screen.width, 5) +
          '\n';
    }
    const bool scene = seen.sighting->scene.kind != Scene::Kind::kText;
    if (!scene || !labels.empty())
      out += '\n' + title(screen, "  " + say(screen.lang, Word::kHeadTitle, id.name())) + labels;
    if (scene) {
      out += render_scene(screen, seen, id);
      out += scene_links(screen, seen, links, id);
      if (id == seen.large.back()) out += foretells_note(screen, seen);
      continue;
    }
    out += arcs(screen, links, id);
    out += '\n' + dim(screen, "  " + say(screen.lang, Word::kTableTitle));
    out += word_table(screen, *seen.sighting, id);
    out += '\n' + row_table(screen, *seen.sighting, id);
  }
  return out;
}

std::string render_changed(const Screen& screen, const Seen& seen) {
  if (!seen.changed) return "";
  std::string edits;
  for (const Edit& edit : seen.edits) {
    edits += (edits.empty() ? "" : ", ") + HeadId{edit.layer, edit.head}.name() + ' ';
    if (edit.kind == Edit::Kind::kZero) edits += say(screen.lang, Word::kZeroed);
    if (edit.kind == Edit::Kind::kMean) edits += say(screen.lang, Word::kMeaned);
    if (edit.kind == Edit::Kind::kScale) edits += "× " + figure(static_cast<double>(edit.factor));
  }
  const auto& labels = seen.sighting->labels;
  const bool labelled =
      seen.changed->at >= 0 && seen.changed->at < static_cast<std::int64_t>(labels.size());
  const std::string where =
      labelled
          ? full_label(
                screen.lang, *seen.sighting, labels[static_cast<std::size_t>(seen.changed->at)])
          : seen.changed->token;
  const std::string words = say(screen.lang,
                                Word::kChanged,
                                edits,
                                fmt::format("{:.4f}", seen.changed->cosine),
                                figure(seen.changed->largest),
                                clip(clean(where), 40));
  return '\n' + std::string("  ") + wrap(words, screen.width, 2) + '\n';
}

// The strongest links of a head with a label.
std::string links_here(
    const Screen& screen, const Seen& seen, const Links& links, const Role& role, int room) {
  // A head with a job among words that finds no work rests on a special token: that is no link.
  const bool place = role.shape == "circle" || role.shape == "hexagon";
  const HeadId id{role.layer, role.head};
  const auto found = links_shown(seen, links, id, 8, place);
  const Word nothing = links.of_text() ? Word::kNothingHere : Word::kNothingInInput;
  return found.empty() ? clip(say(screen.lang, nothing), room)
                       : links_beside(screen, links, found, room, seen.links);
}

// Where a label is from, unless the heading says it of all, and what the sentence shows of it.
std::string label_facts(const Screen& screen, const Seen& seen, const Role& role, bool scored) {
  std::string out;
  if (scored) out += dim(screen, spaces(10) + wrap(role_line(screen, role), screen.width, 10));
  if (const auto here = shown_here(seen, role))
    out += spaces(10) + wrap(say_here(screen.lang, *seen.tree, *here), screen.width, 10) + '\n';
  if (const auto rows = rows_here(*seen.sighting, role))
    out += spaces(10) + wrap(say_rows_here(screen.lang, *rows), screen.width, 10) + '\n';
  return out;
}

// The head that the next command should look at.
HeadId suggested(const Seen& seen, const Links& links) {
  const auto here = [&](const Role& role) { return !seen.layer || *seen.layer == role.layer; };
  for (const Role& role : seen.roles) {
    if (role.shape == "square" && here(role)) return {role.layer, role.head};
  }
  for (const Role& role : seen.roles) {
    if (here(role)) return {role.layer, role.head};
  }
  const auto found = links.surprising(1, seen.layer);
  if (!found.empty()) return found.front().head;
  const std::vector<int> layers = shown_layers(seen);
  return {layers.empty() ? 0 : layers.front(), 0};
}

std::string render_next(const Screen& screen, const Seen& seen, const Links& links) {
  const HeadId id = seen.large.empty() ? suggested(seen, links) : seen.large.front();
  const std::string model = shell_word(seen.model_argument);
  std::vector<std::string> tails;
  if (seen.large.empty()) tails.push_back("--head " + id.name());
  if (seen.walks) tails.push_back(fmt::format("--layer {} --head {}", id.layer, id.head));
  if (seen.large.empty() && !seen.layer && !seen.table &&
      static_cast<int>(seen.sighting->layers.size()) * seen.heads > kFewHeads) {
    tails.push_back("--table");
  }
  if (tails.empty()) return "";
  const std::string label = say(screen.lang, Word::kNext);
  std::string out = "\n";
  for (std::size_t i = 0; i < tails.size(); ++i) {
    const bool walk = tails[i].starts_with("--layer");
    std::string input = shell_word(seen.input_argument);
    const auto line = [&] {
      return "  " + left(i == 0 ? label : "", columns(label)) + " headscope " +
             (walk ? "walk " : "see ") + model + ' ' + input + seen.input_options + ' ' + tails[i];
    };
    // A text is known to who gave it; the name of a file is wanted whole.
    std::error_code ignored;
    if (columns(line()) > screen.width && !std::filesystem::exists(seen.input_argument, ignored))
      input = "\"...\"";
    out += line() + '\n';
  }
  return out;
}
}  // namespace

const std::string& role_name(const Role& role, Lang lang) {
  return lang == Lang::kRu && !role.ru.empty() ? role.ru : role.en;
}

std::string role_line(const Screen& screen, const Role& role) {
  if (role.n == 0) return source_of(screen, role);
  return say(screen.lang,
             Word::kScore,
             fmt::format("{:.0f}", 100 * role.score),
             fmt::format("{:.0f}", 100 * role.baseline),
             role.n,
             source_of(screen, role));
}

std::string source_of(const Screen& screen, const Role& role) {
  if (role.source == "hand-made") return say(screen.lang, Word::kHandMade);
  return clean(screen.lang == Lang::kRu && !role.source_ru.empty() ? role.source_ru : role.source);
}

std::string shell_word(std::string_view word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_./+:@%,").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return std::string(word);
  std::string out = "\"";
  for (const char c : clean(word)) {
    if (std::string_view("\"\\$`").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out + '"';
}

std::string render_header(const Screen& screen, const Seen& seen) {
  const auto tokens = static_cast<std::int64_t>(seen.sighting->labels.size());
  std::string facts = seen.model + "  " +
                      say(screen.lang,
                          Word::kLayersByHeads,
                          counted(screen.lang, Word::kLayers, seen.layers),
                          counted_heads(screen.lang, seen.fewest, seen.heads)) +
                      "  " + counted(screen.lang, Word::kTokens, tokens);
  const bool other = seen.sighting->scene.kind != Scene::Kind::kText;
  if (seen.run_ms) facts += "  " + milliseconds(screen.lang, *seen.run_ms);
  if (seen.looking_ms) {
    facts += *seen.looking_ms > 0.0
                 ? say(screen.lang, Word::kLooking, milliseconds(screen.lang, *seen.looking_ms))
                 : say(screen.lang, Word::kLookingFree);
  }
  std::string out = title(screen, clip(facts, screen.width));
  std::string input = "«" + clip(clean(seen.sighting->text), screen.width - 2) + "»";
  if (other) input = clip(input + "  " + scene_facts(screen, *seen.sighting), screen.width);
  out += input + '\n';
  for (const std::string& remark : seen.remarks) out += note(screen, remark);
  if (seen.tokens_before_cut > 0 && !seen.cut_said) {
    out += note(screen, say(screen.lang, Word::kCut, tokens, seen.tokens_before_cut));
  }
  if (!seen.unknown.empty()) {
    std::string words;
    for (std::size_t i = 0; i < std::min<std::size_t>(seen.unknown.size(), 12); ++i) {
      words += (i > 0 ? ", «" : "«") + clip(clean(seen.unknown[i]), 20) + "»";
    }
    if (seen.unknown.size() > 12) words += " …";
    out += note(screen, say(screen.lang, Word::kUnknownWords, words));
  }
  return out;
}

std::string render_roles(const Screen& screen, const Seen& seen, const Links& links) {
  const std::string source = common_source(screen, seen.roles);
  int name_width = 4;
  for (const Role& role : seen.roles) {
    name_width = std::max(name_width, columns(role_name(role, screen.lang)));
  }
  name_width = std::min(name_width, 32);
  std::string heading = "  " + say(screen.lang, Word::kWhoDoesWhat);
  if (!source.empty()) heading += " (" + source + ')';
  const int before = 2 + 3 + 5 + name_width + 2 + kBar + 1 + 3 + 2;
  std::string out = '\n' + title(screen, clip(heading, screen.width));
  out += dim(screen,
             left(spaces(10 + name_width + 2) + say(screen.lang, Word::kSure), before) +
                 clip(say(screen.lang, Word::kStrongestLinks), screen.width - before));
  const auto summaries = summarise(*seen.sighting);
  std::set<HeadId> done;
  for (const Role& first : seen.roles) {
    const HeadId id{first.layer, first.head};
    if ((seen.layer && *seen.layer != id.layer) || !done.insert(id).second) continue;
    const double sure = summaries.at(static_cast<std::size_t>(id.layer))
                            .at(static_cast<std::size_t>(id.head))
                            .confidence;
    // What the head does here stands once, beside the first of its labels.
    std::string here = "  " + bar(sure, kBar) + ' ' + share(sure) + "  " +
                       links_here(screen, seen, links, first, screen.width - before);
    std::string name = id.name();
    for (const Role& role : seen.roles) {
      if (role.layer != id.layer || role.head != id.head) continue;
      const std::string line =
          "  " + std::string(badge(role)) + left(clip(role.letter, 1), 2) + left(name, 5) +
          left(clip(role_name(role, screen.lang), name_width), name_width) + here;
      out += tidy(line + '\n') + label_facts(screen, seen, role, source.empty());
      name.clear();
      here.clear();
    }
  }
  const auto follows = [](const Role& role) { return doctor::role_name(role.en) != nullptr; };
  if (seen.tree == nullptr && std::any_of(seen.roles.begin(), seen.roles.end(), follows))
    out += note(screen, say(screen.lang, Word::kNeedsTree));
  out += foretells_note(screen, seen);
  return out;
}

std::string render_see(const Screen& screen, const Seen& seen) {
  const Links links(*seen.sighting, screen.lang);
  const auto summaries = summarise(*seen.sighting);
  std::string out = render_header(screen, seen) + render_changed(screen, seen);
  if (seen.sighting->scene.kind != Scene::Kind::kText && seen.large.empty())
    out += render_scene(screen, seen, {});
  if (!seen.large.empty()) {
    out += render_large(screen, seen, links);
  } else {
    out += seen.roles.empty() ? render_measured(screen, seen, links, summaries)
                              : render_roles(screen, seen, links);
    out += render_grid(screen, seen);
    const bool few = static_cast<int>(seen.sighting->layers.size()) * seen.heads <= kFewHeads;
    if (seen.table || seen.layer || few) out += render_table(screen, seen, links, summaries);
  }
  return tidy(out + render_next(screen, seen, links));
}

}  // namespace headscope::cli
