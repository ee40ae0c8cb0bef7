<?php
header('Content-Type: text/plain');
$routes = require '/run/app/routes.php';
$route = $routes[$_SERVER['DOCUMENT_URI']] ?? null;
if ($route === null) {
    http_response_code(404);
} elseif ($route === 'slow') {
    sleep(2);
}
echo $_SERVER['GREETING'], ' from php', "\n";
