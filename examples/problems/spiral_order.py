"""Write spiral_order(grid): the items of a rectangular grid (a list of rows) read clockwise in a spiral from the top
left corner. An empty grid gives an empty list.

spiral_order([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == [1, 2, 3, 6, 9, 8, 7, 4, 5]
"""

TESTS = [
    (([[1, 2, 3], [4, 5, 6], [7, 8, 9]],), [1, 2, 3, 6, 9, 8, 7, 4, 5]),
    (([[1, 2], [3, 4]],), [1, 2, 4, 3]),
    (([[1, 2, 3]],), [1, 2, 3]),
    (([[1], [2], [3]],), [1, 2, 3]),
    (([],), []),
    (([[5]],), [5]),
    (([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]],), [1, 2, 3, 4, 8, 12, 11, 10, 9, 5, 6, 7]),
    (([[1, 2], [3, 4], [5, 6], [7, 8]],), [1, 2, 4, 6, 8, 7, 5, 3]),
]

RIGHT = {
    "peel and rotate": """
def spiral_order(grid):
    grid = [list(row) for row in grid]
    result = []
    while grid:
        result += grid.pop(0)
        grid = [list(row) for row in zip(*grid)][::-1]
    return result
""",
    "four bounds": """
def spiral_order(grid):
    if not grid:
        return []
    top, bottom, left, right = 0, len(grid) - 1, 0, len(grid[0]) - 1
    out = []
    while top <= bottom and left <= right:
        out += [grid[top][c] for c in range(left, right + 1)]
        out += [grid[r][right] for r in range(top + 1, bottom + 1)]
        if top < bottom and left < right:
            out += [grid[bottom][c] for c in range(right - 1, left - 1, -1)]
            out += [grid[r][left] for r in range(bottom - 1, top, -1)]
        top, bottom, left, right = top + 1, bottom - 1, left + 1, right - 1
    return out
""",
    "walk and turn": """
def spiral_order(grid):
    left = {(r, c) for r in range(len(grid)) for c in range(len(grid[0]))}
    r, c, dr, dc = 0, 0, 0, 1
    out = []
    while left:
        out.append(grid[r][c])
        left.discard((r, c))
        if (r + dr, c + dc) not in left:
            dr, dc = dc, -dr
        r, c = r + dr, c + dc
    return out
""",
}

WRONG = {
    "reads single lines twice": """
def spiral_order(grid):
    if not grid:
        return []
    top, bottom, left, right = 0, len(grid) - 1, 0, len(grid[0]) - 1
    out = []
    while top <= bottom and left <= right:
        out += [grid[top][c] for c in range(left, right + 1)]
        out += [grid[r][right] for r in range(top + 1, bottom + 1)]
        out += [grid[bottom][c] for c in range(right - 1, left - 1, -1)]
        out += [grid[r][left] for r in range(bottom - 1, top, -1)]
        top, bottom, left, right = top + 1, bottom - 1, left + 1, right - 1
    return out
""",
    "misses the middle": """
def spiral_order(grid):
    if not grid:
        return []
    top, bottom, left, right = 0, len(grid) - 1, 0, len(grid[0]) - 1
    out = []
    while top < bottom and left < right:
        out += grid[top][left:right]
        out += [grid[r][right] for r in range(top, bottom)]
        out += [grid[bottom][c] for c in range(right, left, -1)]
        out += [grid[r][left] for r in range(bottom, top, -1)]
        top, bottom, left, right = top + 1, bottom - 1, left + 1, right - 1
    return out
""",
    "turns the wrong way": """
def spiral_order(grid):
    grid = [list(row) for row in grid]
    result = []
    while grid:
        result += grid.pop(0)
        grid = [list(row)[::-1] for row in zip(*grid)]
    return result
""",
    "raises on an empty grid": """
def spiral_order(grid):
    rows, cols = len(grid), len(grid[0])
    seen = set()
    r, c, dr, dc = 0, 0, 0, 1
    out = []
    for _ in range(rows * cols):
        out.append(grid[r][c])
        seen.add((r, c))
        nr, nc = r + dr, c + dc
        if not (0 <= nr < rows and 0 <= nc < cols) or (nr, nc) in seen:
            dr, dc = dc, -dr
        r, c = r + dr, c + dc
    return out
""",
    "snake": """
def spiral_order(grid):
    out = []
    for i, row in enumerate(grid):
        out += row if i % 2 == 0 else row[::-1]
    return out
""",
    "border only": """
def spiral_order(grid):
    if len(grid) < 2 or len(grid[0]) < 2:
        return [x for row in grid for x in row]
    right = [row[-1] for row in grid[1:-1]]
    left = [row[0] for row in grid[1:-1]]
    return grid[0] + right + grid[-1][::-1] + left[::-1]
""",
    "unclosed bracket": """
def spiral_order(grid):
    out = []
    while grid:
        out += grid.pop(0)
        grid = [list(row) for row in zip(*grid)[::-1]
    return out
""",
}
